"""One self-contained file per architecture; `architectures` lists them."""
