"""The studio: a local page over run folders. It reads them, starts `hasama` as child processes, and writes `stop`.

Its face: `app.make_studio`, `serve.serve`.
"""
