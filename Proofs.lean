module

public import Proofs.Activations
public import Proofs.Blocks
public import Proofs.Certificate
public import Proofs.Compression
public import Proofs.Counting
public import Proofs.Enclose
public import Proofs.Exponential
public import Proofs.Field
public import Proofs.Layers
public import Proofs.Logits
public import Proofs.Matrix
public import Proofs.Packed
public import Proofs.PackedSpectral
public import Proofs.Peeling
public import Proofs.Propagation
public import Proofs.Pruning
public import Proofs.Rounding
public import Proofs.Softmax
public import Proofs.Sum
public import Proofs.Universal
public import Proofs.Vector
