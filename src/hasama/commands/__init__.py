"""The command's functions, one small one for each thing people do. torch is imported only where it is needed."""
