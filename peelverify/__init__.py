"""peelverify: which layers of a transformer are under-trained, which can go, and how wrong the compressed
model can be, by theorems that a proof assistant has checked.

The package itself imports nothing heavy: `peelverify.bounds`, `peelverify.enclose` and the certificate
checker work without torch.
"""

__version__ = "0.1.0"
