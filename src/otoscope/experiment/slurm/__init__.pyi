from .plan import plan_jobs
from .queue import job_lines
from .scripts import Job, Resources, script, submit_script
from .submission import submit, submit_run

__all__ = ["Job", "Resources", "job_lines", "plan_jobs", "script", "submit", "submit_run", "submit_script"]
