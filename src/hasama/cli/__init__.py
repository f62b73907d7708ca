"""What a person types and sees. Nothing below this room knows the terminal.

Its face: `app.main`, the command. torch is imported inside the commands' functions, so that `--help` is quick.
"""
