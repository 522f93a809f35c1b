"A cohort that cannot be, with what the message must say."
import numpy as np
from plcal_study.study.readers import glance, readings, world_of

CASES = [
    ('readings: no questions',   lambda: readings(0), ValueError, 'n must be at least 1, got 0'),
    ('world_of: unknown',        lambda: world_of('oddworld'), ValueError, "dataset must be one of easyworld, mediumworld, hardworld, got 'oddworld'"),
    ('glance: percent',          lambda: glance(world_of('easyworld'), ['x'], 50, np.random.default_rng(0)), ValueError, 'share must be in [0, 1], got 50'),
]
