"""What a user can ask for, as frozen values without torch: recipe, resources, grid, victims, schedules."""
