"Bad inputs of `plcal_study.study.doctor`: (name, call, exception, part of the message). What it finds broken is a finding, see test_doctor.py."
from unittest.mock import patch
from plcal_study.study import doctor

def _torch(code, **how):
    "GPUs by a torch that does this instead."
    def call():
        with patch.object(doctor, '_ASK', code): doctor.gpus(**how)
    return call

CASES = [
    ('torch hangs', _torch('import time; time.sleep(30)', timeout=.2), OSError, 'torch said nothing for 0 s'),
    ('torch cannot be loaded', _torch("raise ImportError('libcuda.so: no such file')"), OSError, 'ImportError: libcuda.so: no such file'),
    ('torch dies', _torch('import os; os._exit(3)'), OSError, 'exit status 3'),
    ('torch says nothing', _torch('pass'), OSError, 'torch said nothing that can be read'),
]
