"""The commands about what a trained generator can do: sample it, explore it, enlarge, export and share it.

Like `hasama.cli.commands`, to which they belong; their imports stand inside them for the same reason. Its face:
`sample.sample`, `latent.directions`, `project.project`, `sharing.export`.
"""
