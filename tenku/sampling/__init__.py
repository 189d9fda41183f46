"""From a request to pictures: plan, guidance, solvers, and the one path that all modes take."""
