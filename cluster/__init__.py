"""Where things run: the plan of the work, the pools of workers, Ray and the driver."""
