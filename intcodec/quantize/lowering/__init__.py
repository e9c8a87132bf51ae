"""From torch modules to float rows.

registry       which function lowers which class of module; users register their own
layers         convolutions, normalisations, activations
blocks         residual and attention blocks
architectures  whole models of the zoo
"""
