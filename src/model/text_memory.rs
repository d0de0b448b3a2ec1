//! What an attention makes of a text, its keys and values, kept from one call of the model to the next: a text stays the same
//! for many steps, often for a whole run.
//!
//! Enters: a text's embeddings, and how keys and values are made of them. Leaves: those, made anew only for another text.

use std::cell::RefCell;
use tch::Tensor;

/// The last text, and what was made of it.
#[derive(Debug)]
pub struct TextMemory {
    /// Whether the weights stay what they are. Those that are trained do not.
    fixed: bool,
    last: RefCell<Option<Told>>,
}

#[derive(Debug)]
struct Told {
    text: Tensor,
    keys: Tensor,
    values: Tensor,
}

impl Told {
    /// Whether it is this very tensor. It is held here, so that no other can have come to lie in its place.
    fn is_of(&self, text: &Tensor) -> bool {
        let shape = |tensor: &Tensor| (tensor.size(), tensor.stride(), tensor.kind(), tensor.device());
        self.text.data_ptr() == text.data_ptr() && shape(&self.text) == shape(text)
    }
}

impl TextMemory {
    /// For weights that are `fixed`; for others it keeps nothing.
    pub fn new(fixed: bool) -> TextMemory {
        TextMemory { fixed, last: RefCell::default() }
    }

    /// Keys and values of a text, from `make` if it is another one than the last. Nobody may write into them.
    pub fn of(&self, text: &Tensor, make: impl FnOnce() -> (Tensor, Tensor)) -> (Tensor, Tensor) {
        if let Some(told) = self.last.borrow().as_ref().filter(|told| told.is_of(text)) {
            return (told.keys.shallow_clone(), told.values.shallow_clone());
        }
        let (keys, values) = make();
        // A text that is learned changes too, and what was made of it leads back to it only once.
        if self.fixed && !keys.requires_grad() && !values.requires_grad() {
            let (keys, values) = (keys.shallow_clone(), values.shallow_clone());
            self.last.replace(Some(Told { text: text.shallow_clone(), keys, values }));
        }
        (keys, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tch::{Device, Kind};

    /// How often something is made for these texts, one after the other; each time it is the text's own.
    fn made(memory: &TextMemory, texts: &[&Tensor]) -> usize {
        let count = Cell::new(0);
        for text in texts {
            let make = || {
                count.set(count.get() + 1);
                (*text + 1.0, *text * 2.0)
            };
            let (keys, values) = memory.of(text, make);
            assert!(keys.equal(&(*text + 1.0)) && values.equal(&(*text * 2.0)));
        }
        count.get()
    }

    #[test]
    fn a_text_is_told_once_and_another_anew() {
        let text = || Tensor::randn([2, 3, 4], (Kind::Float, Device::Cpu));
        let (one, other) = (text(), text());
        assert_eq!(made(&TextMemory::new(true), &[&one, &one.shallow_clone(), &one]), 1);
        assert_eq!(made(&TextMemory::new(true), &[&one, &other, &one, &one.copy()]), 4);
        // The same numbers seen in another way are another text.
        let views = [&one.narrow(1, 0, 2), &one.narrow(1, 1, 2), &one.transpose(1, 2), &one.view([3, 2, 4])];
        assert_eq!(made(&TextMemory::new(true), &[&[&one][..], &views].concat()), 5);
        // One that is gone leaves its place in memory to nobody.
        let memory = TextMemory::new(true);
        assert_eq!((0..20).map(|_| made(&memory, &[&text()])).sum::<usize>(), 20);
    }

    #[test]
    fn what_is_learned_is_never_the_same_twice() {
        let text = Tensor::randn([2, 3, 4], (Kind::Float, Device::Cpu));
        assert_eq!(made(&TextMemory::new(false), &[&text, &text]), 2);
        let learned = text.set_requires_grad(true);
        assert_eq!(made(&TextMemory::new(true), &[&learned, &learned]), 2);
    }
}
