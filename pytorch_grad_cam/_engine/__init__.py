"""Run a model once: record, differentiate, restore. Private; nothing here imports the methods.

A call goes through these files in this order:

1. `arguments`, `inputs`, `targets`, `layers`: parse what the user gave. `input_errors` explains a model that fails.
2. `model_state`, `precision`: eval and eager mode during the call, restored afterwards.
3. `layer_selection`, `layer_candidates`: choose the layer where none was given. `layouts`: read its axes.
4. `forward`, `hooks`: one recorded and differentiated pass. `outputs`: class scores in whatever the model returns.
5. `replay`, `channel_ablation`, `batching`: what perturbation methods run after that.
6. `reductions`, `maps`: from weighted activations to maps. `smoothing`: averages over augmented copies.
7. `explanation`: the records. `blank_maps`: why a map is blank.

`describe`, `pytree` and `progress` serve all of them. Why it is hard: the user's model must be as it was afterwards,
also after an error, Ctrl-C, in several threads, and with modules that change tensors in-place.
"""
