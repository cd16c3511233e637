"""How each model family loads, encodes, predicts and names its layers."""
