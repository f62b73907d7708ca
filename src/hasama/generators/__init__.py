"""What a trained generator is and can do: its file, sampling, interpolation, mixing, directions, projection.

Its face: `generator_file.TrainedGenerator`, `sampling.generate`, `projection.project`.
"""
