"""Requests as frozen values, without torch: recipe, resources, job, grid, victims, schedules, stages."""
