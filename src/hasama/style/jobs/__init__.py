"""Pictures, folders and films as the command is given them: files that are painted, and gone on with after a stop.

Its face: `job.Job`, `painting_file.paint_file`, `batch.batch_jobs`, `shared.share`, `film.paint_film`.
"""
