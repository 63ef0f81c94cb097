"""How the options of an extraction and what a sentence encoder's folder says come together.

An option that is given holds. What the folder says holds otherwise: its prompt, its limit of tokens (if it is the
smaller one), its pooling, and for the last layer the modules after the pooling. Options that contradict a module with
weights are refused.
"""

from collections.abc import Iterator, Sequence

from tcf.assets.module_list import MODULES
from tcf.common.errors import ConfigError, did_you_mean, value_words
from tcf.config.extract import ExtractConfig, Pooling
from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import layer_width
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.sentence_encoder import Dense, LayerNorm, SentenceEncoder, VectorModule
from tcf.encoders.vector_modules import modules_width

__all__ = ["modules_at", "poolings", "sentence_notes", "text_prefix", "token_limit", "vector_width"]


def text_prefix(config: ExtractConfig, folder: ModelFolder) -> str:
    """Return the text that is put before every item's text.

    Raises:
        ConfigError: `--prompt` names none of the folder's prompts.
    """
    if config.prefix is not None:
        return config.prefix
    sentence = folder.sentence
    prompts = {} if sentence is None else sentence.prompts
    if config.prompt is None:
        return "" if sentence is None else _default_prompt(sentence)
    if config.prompt in prompts:
        return prompts[config.prompt]
    found = f"{value_words(config.prompt)}{did_you_mean(config.prompt, [*prompts])}"
    if prompts:
        raise ConfigError(f"--prompt: expected a prompt of {folder.path} ({', '.join(prompts)}), found {found}")
    raise ConfigError(
        f"--prompt: expected a model with named prompts, which {folder.path} is not, found {found}; pass the text "
        "itself with --prefix"
    )


def _default_prompt(sentence: SentenceEncoder) -> str:
    return "" if sentence.default_prompt is None else sentence.prompts[sentence.default_prompt]


def token_limit(config: ExtractConfig, folder: ModelFolder) -> int:
    """Return the maximum number of tokens of a text: `--max-tokens`, or the folder's limit if it is smaller."""
    own = None if folder.sentence is None else folder.sentence.max_tokens
    return config.max_tokens if own is None else min(own, config.max_tokens)


def poolings(config: ExtractConfig, folder: ModelFolder) -> tuple[Pooling, ...]:
    """Return the poolings whose vectors are concatenated.

    Raises:
        ConfigError: `--pooling` contradicts a module with weights, which was trained after another pooling.
    """
    if config.pooling == "auto" or (config.pooling,) == folder.poolings:
        return folder.poolings
    trained = [module for module in modules_at(folder, LAST) if isinstance(module, Dense | LayerNorm)]
    if trained and LAST in config.pooled_layers:
        raise ConfigError(
            f"--pooling: expected auto or {','.join(folder.poolings)}, which {trained[0].folder} was trained after, "
            f"found {config.pooling}; leave --pooling out, or take the states before the modules with "
            f"--layers {folder.n_blocks or 'N'}"
        )
    return (config.pooling,)


def modules_at(folder: ModelFolder, layer: int) -> Sequence[VectorModule]:
    """Return the modules for the pooled vectors of a layer: they belong to the last one."""
    return folder.sentence.modules if folder.sentence is not None and layer == LAST else ()


def vector_width(config: ExtractConfig, folder: ModelFolder, layer: int) -> int:
    """Return the width of the vectors of a layer, after the modules; weights are not needed.

    Raises:
        ConfigError: the model has no such projection, or `--pooling` contradicts a module.
        ModelError: a module reads vectors of another width.
    """
    pooled = len(poolings(config, folder)) * layer_width(folder, layer, project_out=config.project_out)
    return modules_width(modules_at(folder, layer), pooled)


def sentence_notes(config: ExtractConfig, folder: ModelFolder) -> Iterator[str]:
    """Yield what of a sentence encoder's folder holds although no option says so, and what of it does not hold."""
    sentence = folder.sentence
    if sentence is None or not sentence.obeys_modules:
        unread = sorted(file.name for file in folder.path.glob("*sentence_*.json"))
        if unread:
            yield f"not used: {', '.join(unread)} of {folder.path}, which has no {MODULES}"
    if sentence is None:
        return
    yield from _prompt_notes(config, sentence)
    limit = token_limit(config, folder)
    if limit < config.max_tokens:
        yield f"texts are cut at {limit} tokens, the limit of {folder.path}, not at --max-tokens {config.max_tokens}"
    if poolings(config, folder) != folder.poolings:
        yield f"--pooling {config.pooling} holds, not {','.join(folder.poolings)} of {sentence.file}"
    if sentence.modules and any(layer != LAST for layer in config.pooled_layers):
        yield f"the modules after the pooling in {sentence.file} are applied to layer -1 only"
    if config.token_states is not None:
        yield f"token states come before the pooling and the modules after it in {sentence.file}"
    if sentence.unused:
        yield f"not used: {', '.join(sentence.unused)} of config_sentence_transformers.json in {sentence.file.parent}"


def _prompt_notes(config: ExtractConfig, sentence: SentenceEncoder) -> Iterator[str]:
    folder, prompt = sentence.file.parent, _default_prompt(sentence)
    name = value_words(sentence.default_prompt)
    if config.prompt is not None:
        return
    if prompt and config.prefix is not None:
        yield f"--prefix holds, not the default prompt {name} of {folder}"
    elif prompt:
        yield f"{value_words(prompt)} comes before every text, the default prompt {name} of {folder}"
    elif config.prefix is None and any(sentence.prompts.values()):
        yield f"no prompt comes before the texts; {folder} has {', '.join(sentence.prompts)} for --prompt"
