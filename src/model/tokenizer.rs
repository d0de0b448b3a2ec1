//! CLIP's tokenizer, through the `tokenizers` crate.
//!
//! Enters: `tokenizer.json`, or `vocab.json` and `merges.txt` as the published v1 checkpoints have them; then a prompt.
//! Leaves: the ids of the text encoder's window of 77 places, the pieces, and the end of the prompt that did not fit.

mod added;
pub mod pieces;
mod vocabulary;

use self::added::{Added, Beside};
use crate::error::{Error, Result};
use crate::model::config::TextConfig;
use crate::model::files::ModelFiles;
use crate::record::schema::Token;
use std::collections::HashMap;
use std::ops::Range;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// CLIP's words: contractions, runs of letters, single digits, runs of anything else.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// What CLIP's vocabulary appends to the last piece of a word.
pub(crate) const WORD_END: &str = "</w>";

/// The tokenizer of a model.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    window: usize,
    /// Words that stand for several tokens: the ids of all, by that of the first.
    words: HashMap<u32, Vec<u32>>,
}

/// A prompt as the text encoder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The ids of all places: begin-of-text, the prompt, end-of-text, padding.
    pub ids: Vec<i64>,
    /// The tokens from begin-of-text to the first end-of-text.
    pub tokens: Vec<Token>,
    /// The end of the prompt that did not fit, as it was written.
    pub cut: Option<String>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder, with a window of at most `window` places.
    ///
    /// # Errors
    /// When the files are missing or not valid, or lack the special tokens.
    pub fn load(files: &ModelFiles, window: usize) -> Result<Tokenizer> {
        let beside = Beside::read(files)?;
        let window = beside.window(files, window)?;
        let inner = match files.text("tokenizer/tokenizer.json")? {
            Some(json) => ready_made(files, &json, &beside)?,
            None => from_vocabulary(files, &beside)?,
        };
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| {
                let reason = format!("the vocabulary lacks `{token}`");
                Error::bad_file(&files.path("tokenizer"), "tokenizer", reason)
            })
        };
        let (bos, eos, pad) = (id(&beside.bos)?, id(&beside.eos)?, id(&beside.pad)?);
        let words = words(&inner);
        Ok(Tokenizer { bos, eos, pad, window, inner, words })
    }

    /// Reads the tokenizer that belongs to a text encoder: none of its ids lies beyond the encoder's table.
    ///
    /// # Errors
    /// As [`Tokenizer::load`]; also when one does.
    pub fn of_model(files: &ModelFiles, text: &TextConfig) -> Result<Tokenizer> {
        let tokenizer = Tokenizer::load(files, text.max_position_embeddings as usize)?;
        let vocabulary = tokenizer.inner.get_vocab(true);
        let last = vocabulary.into_iter().max_by_key(|(_, id)| *id);
        match last.filter(|(_, id)| i64::from(*id) >= text.vocab_size) {
            Some((piece, id)) => Err(Error::invalid(
                format!(
                    "the tokenizer in `{}` gives `{piece}` the id {id}, and the text encoder has embeddings for 0 to {}",
                    files.path("tokenizer").display(),
                    text.vocab_size - 1
                ),
                "take tokenizer and text_encoder from one model",
            )),
            None => Ok(tokenizer),
        }
    }

    /// Places in the text encoder's window.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Entries of the vocabulary.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The pieces and their numbers.
    pub fn vocabulary(&self) -> HashMap<String, u32> {
        self.inner.get_vocab(true)
    }

    /// Makes `name` a word that stands for `count` tokens of its own, `name`, `name_1`, …, as diffusers does. Gives the
    /// first one's id; the others follow it.
    ///
    /// # Errors
    /// When the vocabulary has the word already.
    pub fn add_embedding(&mut self, name: &str, count: usize) -> Result<i64> {
        let token = |i: usize| if i == 0 { name.to_string() } else { format!("{name}_{i}") };
        if let Some(known) = (0..count).map(token).find(|token| self.inner.token_to_id(token).is_some()) {
            return Err(Error::invalid(
                format!("the embedding cannot be called `{name}`: the vocabulary has `{known}` already"),
                format!("give it a name that is no word: `--embedding my-{name}=…`"),
            ));
        }
        let refused =
            |e: tokenizers::Error| Error::invalid(format!("the embedding cannot be called `{name}`: {e}"), "rename it");
        self.inner.add_tokens((0..count).map(|i| AddedToken::from(token(i), false))).map_err(refused)?;
        let first = self.inner.token_to_id(name).unwrap_or_default();
        self.words.insert(first, (first..first + count as u32).collect());
        Ok(i64::from(first))
    }

    /// The tokens of a text, and which of its bytes each stands for. Those of a word that stands for several share its.
    fn pieces(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let refused = |e: tokenizers::Error| Error::invalid(format!("cannot tokenize `{text}`: {e}"), "reword it");
        let encoding = self.inner.encode(text, false).map_err(refused)?;
        let found = encoding.get_ids().iter().zip(encoding.get_offsets());
        let all = |(id, (start, end)): (&u32, &(usize, usize))| {
            let all = self.words.get(id).map_or(std::slice::from_ref(id), Vec::as_slice);
            all.iter().map(|id| (*id, *start..*end)).collect::<Vec<_>>()
        };
        Ok(found.flat_map(all).collect())
    }

    /// How many tokens stand for the word that this one begins: 1, unless it was learned with more vectors.
    pub fn vectors(&self, id: u32) -> usize {
        self.words.get(&id).map_or(1, Vec::len)
    }

    /// The id of the comma that ends a clause, if there is one.
    pub fn comma(&self) -> Option<u32> {
        self.inner.token_to_id(&format!(",{WORD_END}"))
    }

    /// Begin-of-text and end-of-text.
    pub fn ends(&self) -> [Token; 2] {
        [self.token(self.bos), self.token(self.eos)]
    }

    /// All tokens of a text, however many, without begin-of-text and end-of-text.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn tokens(&self, text: &str) -> Result<Vec<Token>> {
        Ok(self.pieces(text)?.into_iter().map(|(id, _)| self.token(id)).collect())
    }

    /// The same, each with the bytes of the text that it stands for.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn spelt(&self, text: &str) -> Result<Vec<(Token, Range<usize>)>> {
        Ok(self.pieces(text)?.into_iter().map(|(id, span)| (self.token(id), span)).collect())
    }

    /// What fills windows.
    pub fn padding(&self) -> Token {
        self.token(self.pad)
    }

    /// The ids of all places of a window that holds these tokens: begin-of-text, the tokens, end-of-text, padding.
    pub fn places(&self, tokens: impl IntoIterator<Item = u32>) -> Vec<i64> {
        let mut ids: Vec<u32> = [self.bos].into_iter().chain(tokens).chain([self.eos]).collect();
        ids.resize(self.window, self.pad);
        ids.into_iter().map(i64::from).collect()
    }

    fn token(&self, id: u32) -> Token {
        Token { id, piece: self.inner.id_to_token(id).unwrap_or_default() }
    }

    /// Encodes a prompt: cut to the window as diffusers cuts it, padded to the window.
    ///
    /// # Errors
    /// When the tokenizer refuses the text.
    pub fn encode(&self, prompt: &str) -> Result<Encoded> {
        let pieces = self.pieces(prompt)?;
        let kept = pieces.len().min(self.window.saturating_sub(2));
        // Offsets are bytes of the prompt as it was written; the first token that does not fit says where it was cut.
        let cut = pieces.get(kept).and_then(|(_, span)| prompt.get(span.start..)).map(|s| s.trim().to_string());
        let ids = || pieces[..kept].iter().map(|(id, _)| *id);
        let [bos, eos] = self.ends();
        let tokens = [bos].into_iter().chain(ids().map(|id| self.token(id))).chain([eos]).collect();
        Ok(Encoded { ids: self.places(ids()), tokens, cut })
    }
}

/// `tokenizer.json`, without the cutting and padding it may ask for: both are done here, where they can be told.
fn ready_made(files: &ModelFiles, json: &str, beside: &Beside) -> Result<tokenizers::Tokenizer> {
    let path = files.path("tokenizer/tokenizer.json");
    let bad = |e: tokenizers::Error| Error::bad_file(&path, "tokenizer", e);
    let mut inner: tokenizers::Tokenizer = json.parse().map_err(bad)?;
    inner.with_truncation(None).map_err(bad)?;
    inner.with_padding(None);
    // What it searches texts for stays as it says; pieces of its vocabulary may be special beside that.
    let known = added(&inner);
    let new = |a: &&Added| {
        let content = &a.token.content;
        !known.contains_key(content) && (a.id.is_some() || inner.token_to_id(content).is_some())
    };
    let new: Vec<AddedToken> = beside.tokens.iter().filter(new).map(|added| added.token.clone()).collect();
    inner.add_tokens(new).map_err(bad)?;
    for Added { token, id } in &beside.tokens {
        let found = inner.token_to_id(&token.content);
        if let Some(id) = id.filter(|id| found != Some(*id)) {
            let found = found.map_or("none".into(), |id| id.to_string());
            let reason = format!("it gives `{}` the id {id}, `{}` gives it {found}", token.content, path.display());
            return Err(Error::bad_file(&files.path(beside.ids_from), "list of added tokens", reason));
        }
    }
    let vocabulary = inner.get_vocab(true);
    vocabulary::check_ids(vocabulary.iter().map(|(piece, id)| (piece.as_str(), *id)).collect(), &path)?;
    Ok(inner)
}

/// The tokenizer that transformers makes of `vocab.json` and `merges.txt` (its `CLIPConverter`).
fn from_vocabulary(files: &ModelFiles, beside: &Beside) -> Result<tokenizers::Tokenizer> {
    let (vocab, merges) = vocabulary::read(files, beside)?;
    let known = |added: &&Added| vocab.contains_key(&added.token.content);
    let tokens: Vec<AddedToken> = beside.tokens.iter().filter(known).map(|added| added.token.clone()).collect();
    let tokenizer = |e: tokenizers::Error| Error::bad_file(&files.path("tokenizer"), "tokenizer", e);
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .unk_token(beside.eos.clone())
        .end_of_word_suffix(WORD_END.into())
        .build()
        .map_err(tokenizer)?;
    let mut inner = clip(bpe).map_err(tokenizer)?;
    inner.add_tokens(tokens).map_err(tokenizer)?;
    Ok(inner)
}

/// The tokens that a text is searched for, and their ids.
fn added(inner: &tokenizers::Tokenizer) -> HashMap<String, u32> {
    inner.get_added_tokens_decoder().into_iter().map(|(id, token)| (token.content, id)).collect()
}

/// The words among the added tokens that diffusers has learned as several: `<house>`, `<house>_1`, `<house>_2`, …
fn words(inner: &tokenizers::Tokenizer) -> HashMap<u32, Vec<u32>> {
    let added = added(inner);
    let several = |(name, id): (&String, &u32)| {
        let rest = (1..).map_while(|i| added.get(&format!("{name}_{i}")));
        let all: Vec<u32> = [id].into_iter().chain(rest).copied().collect();
        (all.len() > 1).then_some((*id, all))
    };
    added.iter().filter_map(several).collect()
}

/// A tokenizer that takes text apart as CLIP's does, with no vocabulary yet.
pub(crate) fn empty() -> tokenizers::Result<tokenizers::Tokenizer> {
    clip(BPE::builder().end_of_word_suffix(WORD_END.into()).build()?)
}

fn clip(bpe: BPE) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ")?;
    inner.with_normalizer(Some(Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()])))?;
    let words = Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, true);
    inner.with_pre_tokenizer(Some(PreSequence::new(vec![words.into(), bytes.into()])));
    Ok(inner)
}
