//! The extensions of a report, each with a number by which files name it, in the order of the stack.

use std::collections::BTreeMap;
use std::sync::Arc;

use confext_ddi::release::Class;

use crate::trace::{Source, Traced, Unknown};

/// Extensions of all classes.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    all: Vec<Layer>,
    numbers: BTreeMap<(&'static str, String), usize>,
    /// For each class, bottom first.
    orders: BTreeMap<&'static str, Vec<usize>>,
}

/// One extension.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) class: Class,
    pub(super) about: About,
    /// The hierarchies it has files in.
    pub(super) hierarchies: Vec<&'static str>,
    pub(super) counts: LayerCounts,
}

/// What is known of it.
#[derive(Debug, Clone)]
pub(super) enum About {
    Known(Arc<Source>),
    /// It could not be opened.
    Unknown(Unknown),
}

/// What is seen of an extension's files; directories, which are merged, do not count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LayerCounts {
    /// Files that are seen.
    pub(super) seen: u64,
    /// Of these, the ones that hide another file.
    pub(super) over: u64,
    /// Files that are not seen, because something is above them.
    pub(super) under: u64,
    /// Files of others that it takes away.
    pub(super) removes: u64,
}

impl Layer {
    pub(super) fn name(&self) -> &str {
        match &self.about {
            About::Known(source) => &source.layer,
            About::Unknown(unknown) => &unknown.layer,
        }
    }

    pub(super) fn source(&self) -> Option<&Source> {
        match &self.about {
            About::Known(source) => Some(source),
            About::Unknown(_) => None,
        }
    }
}

impl Layers {
    pub(super) fn all(&self) -> &[Layer] {
        &self.all
    }

    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Layer> {
        self.all.get_mut(number)
    }

    /// Those of a class with their numbers, topmost first.
    pub(super) fn stack(&self, class: Class) -> impl Iterator<Item = (usize, &Layer)> {
        let order = self.orders.get(class.as_str()).map_or(&[][..], Vec::as_slice);
        order.iter().rev().filter_map(|number| Some((*number, self.all.get(*number)?)))
    }

    /// The number of an extension of a class.
    pub(super) fn number(&self, class: Class, name: &str) -> Option<usize> {
        self.numbers.get(&(class.as_str(), name.to_owned())).copied()
    }

    /// Takes those of a hierarchy. Where two hierarchies have different ones of a class, the order in each stays.
    pub(super) fn add(&mut self, stack: &Traced) {
        let mut place = 0;
        for source in &stack.layers {
            let number = self.register(stack.class, &source.layer, || About::Known(Arc::clone(source)));
            self.seen_in(number, stack.hierarchy);
            place = self.put(stack.class, number, place);
        }
        for unknown in &stack.unknown {
            let number = self.register(stack.class, &unknown.layer, || About::Unknown(unknown.clone()));
            self.seen_in(number, stack.hierarchy);
            place = self.put(stack.class, number, place);
        }
    }

    fn register(&mut self, class: Class, name: &str, about: impl FnOnce() -> About) -> usize {
        let next = self.all.len();
        let number = *self.numbers.entry((class.as_str(), name.to_owned())).or_insert(next);
        if number == next {
            let layer =
                Layer { class, about: about(), hierarchies: Vec::new(), counts: LayerCounts::default() };
            self.all.push(layer);
        }
        number
    }

    fn seen_in(&mut self, number: usize, hierarchy: &'static str) {
        if let Some(layer) = self.all.get_mut(number)
            && !layer.hierarchies.contains(&hierarchy)
        {
            layer.hierarchies.push(hierarchy);
        }
    }

    /// Puts an extension into the order unless it is there, and returns the place above it.
    fn put(&mut self, class: Class, number: usize, place: usize) -> usize {
        let order = self.orders.entry(class.as_str()).or_default();
        let at = order.iter().position(|known| *known == number).unwrap_or_else(|| {
            let at = place.min(order.len());
            order.insert(at, number);
            at
        });
        at.saturating_add(1)
    }
}
