"""What features are worth and what a model costs: functions of arrays and models, with torch and numpy alone."""
