"""One tiny model of random weights of every family, with a tokenizer as that family has it.

docs/models.md's table is made of this list.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BertConfig,
    BlenderbotConfig,
    BlenderbotSmallConfig,
    ByT5Tokenizer,
    EncoderDecoderConfig,
    GPT2Config,
    LEDConfig,
    LongT5Config,
    M2M100Config,
    M2M100Tokenizer,
    MarianConfig,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartTokenizer,
    MT5Config,
    MvpConfig,
    NllbMoeConfig,
    NllbTokenizer,
    PegasusConfig,
    PegasusXConfig,
    PLBartConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    SwitchTransformersConfig,
    T5Config,
    T5Gemma2Config,
    T5GemmaConfig,
    UMT5Config,
)

WORDS = """the a dog cat bird house garden train sees finds takes leaves likes red old small green quickly today again
and or with under near my your his her""".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz.,?!"


def by_words(*specials: str, template: str, **names: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose first ids are `specials`, in order, then words; `template` is where texts get them."""
    tokens = [*specials, *WORDS]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=names["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known = [(token, i) for i, token in enumerate(specials) if token in template.split()]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=known)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def t5_like(folder: Path) -> PreTrainedTokenizerBase:
    return by_words("<pad>", "</s>", "<unk>", template="$A </s>",
                    pad_token="<pad>", eos_token="</s>", unk_token="<unk>")  # fmt: skip


def bart_like(folder: Path) -> PreTrainedTokenizerBase:
    return by_words("<s>", "<pad>", "</s>", "<unk>", template="<s> $A </s>", bos_token="<s>",
                    pad_token="<pad>", eos_token="</s>", unk_token="<unk>")  # fmt: skip


def padded_on_the_left(folder: Path) -> PreTrainedTokenizerBase:
    """BlenderbotSmall's: texts get no end."""
    return by_words("__null__", "__start__", "__end__", "__unk__", template="$A", bos_token="__start__",
                    pad_token="__null__", eos_token="__end__", unk_token="__unk__", padding_side="left")  # fmt: skip


def bert_like(folder: Path, **names: str) -> PreTrainedTokenizerBase:
    """Without an eos_token: texts end in [SEP]."""
    return by_words("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[END]", template="[CLS] $A [SEP]", pad_token="[PAD]",
                    unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", **names)  # fmt: skip


def gemma_like(folder: Path) -> PreTrainedTokenizerBase:
    """BOS before a text, nothing after it, and padding on the left."""
    return by_words("<pad>", "<eos>", "<bos>", "<unk>", template="<bos> $A", bos_token="<bos>",
                    pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", padding_side="left")  # fmt: skip


def many_languages(kind: type, folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """mBART's, mBART-50's or NLLB's own class."""
    specials, pieces = ["<s>", "<pad>", "</s>", "<unk>"], ["▁", *LETTERS]
    if kind is NllbTokenizer:
        vocabulary = {token: i for i, token in enumerate([*specials, *pieces])}
        return kind(vocab=vocabulary, merges=[], **options)
    return kind(vocab=[(token, 0.0) for token in specials] + [(token, -3.0) for token in pieces], **options)


def sentencepiece_model(path: Path) -> list[str]:
    """Write a small model; returns its tokens."""
    lines = iter([f"{' '.join(WORDS[i:] + WORDS[:i])}" for i in range(len(WORDS))] * 3)
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=file, vocab_size=60,
                                                 hard_vocab_limit=False, minloglevel=2)  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(str(path))
    return [model.id_to_piece(i) for i in range(3, model.get_piece_size())]


def m2m_100(folder: Path) -> PreTrainedTokenizerBase:
    pieces = sentencepiece_model(folder / "spm.model")
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    (folder / "pieces.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    return M2M100Tokenizer(str(folder / "pieces.json"), str(folder / "spm.model"), src_lang="en", tgt_lang="de")


def marian(folder: Path) -> PreTrainedTokenizerBase:
    pieces = sentencepiece_model(folder / "spm.model")
    tokens = ["</s>", "<unk>", *pieces, "<pad>"]
    (folder / "pieces.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    file = str(folder / "spm.model")
    return MarianTokenizer(file, file, str(folder / "pieces.json"), source_lang="en", target_lang="de")


T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
      "decoder_start_token_id": 0}  # fmt: skip
SIZES = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
         "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16}  # fmt: skip
SHORT = SIZES | {"max_position_embeddings": 128}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 128}  # fmt: skip
GEMMA = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "num_key_value_heads": 1, "intermediate_size": 32, "head_dim": 8, "sliding_window": 4, "pad_token_id": 0,
         "eos_token_id": 1, "bos_token_id": 2, "layer_types": ["sliding_attention", "full_attention"],
         "max_position_embeddings": 128}  # fmt: skip


def bert2(decoder: PreTrainedConfig, **tokens: int) -> PreTrainedConfig:
    encoder = BertConfig(**BERT, vocab_size=decoder.vocab_size)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.pad_token_id, config.decoder_start_token_id = 0, tokens["start"]
    config.eos_token_id, config.vocab_size = tokens["end"], decoder.vocab_size
    return config


def marian_config(vocab_size: int) -> PreTrainedConfig:
    pad = vocab_size - 1
    return MarianConfig(**SHORT, vocab_size=vocab_size, pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad)


def t5gemma(vocab_size: int) -> PreTrainedConfig:
    text = GEMMA | {"vocab_size": vocab_size}
    return T5GemmaConfig(encoder=text, decoder=dict(text), vocab_size=vocab_size)


def bert2bert(vocab_size: int) -> PreTrainedConfig:
    return bert2(BertConfig(**BERT, vocab_size=vocab_size), start=2, end=3)


def bert2gpt2(vocab_size: int) -> PreTrainedConfig:
    decoder = GPT2Config(vocab_size=vocab_size, n_embd=16, n_layer=2, n_head=2, n_positions=128, bos_token_id=4,
                         eos_token_id=4, pad_token_id=0)  # fmt: skip
    return bert2(decoder, start=4, end=4)


def t5gemma2(vocab_size: int) -> PreTrainedConfig:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 16, "num_hidden_layers": 1, "image_size": 8,
              "num_attention_heads": 2, "intermediate_size": 16, "patch_size": 4}  # fmt: skip
    tokens = {"mm_tokens_per_image": 4, "boi_token_index": vocab_size, "eoi_token_index": vocab_size,
              "image_token_index": vocab_size}  # fmt: skip
    text = GEMMA | {"vocab_size": vocab_size}
    return T5Gemma2Config(encoder={"text_config": text, "vision_config": vision, **tokens}, decoder=dict(text),
                          eoi_token_index=vocab_size, image_token_index=vocab_size)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A family of models as a user meets it."""

    name: str
    examples: str
    config: Callable[..., PreTrainedConfig]
    """From vocab_size."""
    tokenizer: Callable[[Path], PreTrainedTokenizerBase]
    targets: tuple[str, ...]
    """What `policy.lora.target_modules: auto` means."""
    note: str = ""
    generation: dict[str, Any] | None = None
    """What generation_config.json says besides the defaults."""

    def save(self, folder: Path) -> Path:
        """Write the model and its tokenizer, like a folder that `save_pretrained` wrote."""
        folder.mkdir(parents=True)
        torch.manual_seed(1)
        tokenizer = self.tokenizer(folder)
        languages = getattr(tokenizer, "lang_token_to_id", {})  # M2M100's vocabulary lacks them
        ids = {*tokenizer.get_vocab().values(), *languages.values()}
        model = AutoModelForSeq2SeqLM.from_config(self.config(vocab_size=max(ids) + 1))
        torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.3)  # else all tokens are equally likely
        for key, value in (self.generation or {}).items():
            setattr(model.generation_config, key, value)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder


QV, PROJ = ("q", "v"), ("q_proj", "v_proj")
BART = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
LANGUAGES = partial(many_languages, NllbTokenizer, src_lang="eng_Latn", tgt_lang="deu_Latn")

FAMILIES = [
    Family("T5", "t5-base", partial(T5Config, **T5, feed_forward_proj="relu"), t5_like, QV),
    Family(
        "FLAN-T5",
        "google/flan-t5-base",
        partial(T5Config, **T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        t5_like,
        QV,
    ),
    Family("mT5", "google/mt5-small", partial(MT5Config, **T5), t5_like, QV),
    Family("UMT5", "google/umt5-small", partial(UMT5Config, **T5), t5_like, QV),
    Family(
        "ByT5",
        "google/byt5-small",
        partial(T5Config, **T5, feed_forward_proj="gated-gelu"),
        lambda folder: ByT5Tokenizer(),
        QV,
        "tokens are bytes",
    ),
    Family("LongT5, local", "google/long-t5-local-base", partial(LongT5Config, **T5, local_radius=4), t5_like, QV),
    Family(
        "LongT5, global",
        "google/long-t5-tglobal-base",
        partial(LongT5Config, **T5, local_radius=4, encoder_attention_type="transient-global", global_block_size=4),
        t5_like,
        QV,
    ),
    Family(
        "Switch",
        "google/switch-base-8",
        partial(
            SwitchTransformersConfig,
            **T5,
            num_experts=4,
            expert_capacity=40,
            num_decoder_layers=2,
            num_sparse_encoder_layers=1,
            num_sparse_decoder_layers=1,
        ),
        t5_like,
        QV,
        "completions of at most `expert_capacity` tokens",
    ),
    Family(
        "BART",
        "facebook/bart-large-cnn",
        partial(BartConfig, **SHORT, **BART),
        bart_like,
        PROJ,
        "1024 positions; the forced `<s>` is context",
        {"forced_bos_token_id": 0, "min_length": 5},
    ),
    Family(
        "mBART",
        "facebook/mbart-large-en-ro",
        partial(MBartConfig, **SHORT, **BART),
        partial(many_languages, MBartTokenizer, src_lang="en_XX", tgt_lang="ro_RO"),
        PROJ,
        "the decoder starts with the language",
    ),
    Family(
        "mBART-50",
        "facebook/mbart-large-50-many-to-many-mmt",
        partial(MBartConfig, **SHORT, **BART),
        partial(many_languages, MBart50Tokenizer, src_lang="en_XX", tgt_lang="ro_RO"),
        PROJ,
        "the language follows the start token",
        {"forced_bos_token_id": 40},
    ),
    Family(
        "Pegasus",
        "google/pegasus-xsum",
        partial(PegasusConfig, **SHORT, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0),
        t5_like,
        PROJ,
        "512 to 1024 positions",
    ),
    Family(
        "Pegasus-X",
        "google/pegasus-x-base",
        partial(
            PegasusXConfig,
            **SIZES,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            block_size=8,
            num_global_tokens=4,
        ),
        t5_like,
        PROJ,
    ),
    Family("Marian", "Helsinki-NLP/opus-mt-en-de", marian_config, marian, PROJ, "512 positions"),
    Family(
        "M2M100",
        "facebook/m2m100_418M",
        partial(M2M100Config, **SIZES, **BART),
        m2m_100,
        PROJ,
        "the language follows the start token",
    ),
    Family(
        "NLLB",
        "facebook/nllb-200-distilled-600M",
        partial(M2M100Config, **SIZES, **BART),
        LANGUAGES,
        PROJ,
        "the language follows the start token",
        {"forced_bos_token_id": 40},
    ),
    Family(
        "NLLB-MoE",
        "facebook/nllb-moe-54b",
        partial(NllbMoeConfig, **SIZES, **BART, num_experts=4, encoder_sparse_step=2, decoder_sparse_step=2),
        LANGUAGES,
        PROJ,
        "the language follows the start token",
        {"forced_bos_token_id": 40},
    ),
    Family(
        "LED",
        "allenai/led-base-16384",
        partial(
            LEDConfig,
            **SIZES,
            **BART,
            attention_window=4,
            max_encoder_position_embeddings=128,
            max_decoder_position_embeddings=128,
        ),
        bart_like,
        PROJ,
        "16384 positions to read, 1024 to write; global attention on the first token",
    ),
    Family(
        "Blenderbot",
        "facebook/blenderbot-400M-distill",
        partial(
            BlenderbotConfig,
            **SIZES,
            max_position_embeddings=128,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        ),
        padded_on_the_left,
        PROJ,
        "128 positions",
    ),
    Family(
        "BlenderbotSmall",
        "facebook/blenderbot_small-90M",
        partial(
            BlenderbotSmallConfig, **SHORT, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1
        ),
        padded_on_the_left,
        PROJ,
        "512 positions",
    ),
    Family("MVP", "RUCAIBox/mvp", partial(MvpConfig, **SHORT, **BART), bart_like, PROJ, "1024 positions"),
    Family("PLBart", "uclanlp/plbart-base", partial(PLBartConfig, **SHORT, **BART), bart_like, PROJ, "1024 positions"),
    Family(
        "EncoderDecoderModel, bert2bert",
        "google/bert2bert_L-24_wmt_de_en",
        bert2bert,
        bert_like,
        ("query", "value"),
        "512 positions",
    ),
    Family(
        "EncoderDecoderModel, bert2gpt2",
        "your own",
        bert2gpt2,
        bert_like,
        ("query", "value", "c_attn"),
        "one tokenizer for both",
    ),
    Family("T5Gemma", "google/t5gemma-2b-2b-ul2", t5gemma, gemma_like, PROJ),
    Family(
        "T5Gemma 2",
        "google/t5gemma-2-270m-270m",
        t5gemma2,
        gemma_like,
        tuple(
            f"{stack}.layers.{layer}.self_attn.{name}"
            for stack in ("text_model", "decoder")
            for layer in range(2)
            for name in PROJ
        ),
        "text only",
    ),
]
