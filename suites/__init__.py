"""What is asked: one thin test for each check. The only place that knows both houses."""
