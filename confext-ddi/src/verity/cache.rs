//! A bounded cache of checked hash blocks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A hash block's place in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) level: usize,
    pub(super) block: u64,
}

/// Checked hash blocks, at most a fixed number of them: the one not used for longest makes room (second chance).
#[derive(Debug)]
pub(super) struct Cache(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    most: usize,
    index: HashMap<Key, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    block: Arc<[u8]>,
    used: bool,
}

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Self(Mutex::new(Slots { most, ..Slots::default() }))
    }

    /// What a panicking thread leaves behind is still a set of checked blocks: no step of `insert` mixes two.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, key: Key) -> Option<Arc<[u8]>> {
        let mut cache = self.lock();
        let at = *cache.index.get(&key)?;
        let slot = cache.slots.get_mut(at).filter(|slot| slot.key == key)?;
        slot.used = true;
        Some(Arc::clone(&slot.block))
    }

    pub(super) fn insert(&self, key: Key, block: Arc<[u8]>) {
        let mut cache = self.lock();
        if cache.index.contains_key(&key) || cache.most == 0 {
            return;
        }
        let slot = Slot { key, block, used: false };
        if cache.slots.len() < cache.most {
            let at = cache.slots.len();
            cache.slots.push(slot);
            cache.index.insert(key, at);
            return;
        }
        let at = cache.free_slot();
        if let Some(old) = cache.slots.get_mut(at) {
            let old = std::mem::replace(old, slot);
            cache.index.remove(&old.key);
            cache.index.insert(key, at);
        }
    }
}

impl Slots {
    /// Turns the hand to a slot not used since it last came by; ends within two rounds.
    fn free_slot(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = at.checked_add(1).filter(|next| *next < self.slots.len()).unwrap_or(0);
            match self.slots.get_mut(at) {
                Some(slot) if slot.used => slot.used = false,
                _ => return at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(block: u64) -> Key {
        Key { level: 0, block }
    }

    fn block(byte: u8) -> Arc<[u8]> {
        Arc::from(vec![byte; 4])
    }

    #[test]
    fn the_block_not_used_makes_room() {
        let cache = Cache::new(2);
        cache.insert(key(1), block(1));
        cache.insert(key(2), block(2));
        assert_eq!(cache.find(key(1)).unwrap()[0], 1);
        cache.insert(key(3), block(3));
        assert_eq!(cache.find(key(2)), None);
        assert_eq!(cache.find(key(3)).unwrap()[0], 3);
        assert_eq!(cache.find(key(1)).unwrap()[0], 1);
        assert_eq!(cache.find(Key { level: 1, block: 1 }), None);
        assert_eq!(cache.lock().slots.len(), 2);
        assert_eq!(cache.lock().index.len(), 2);
    }

    #[test]
    fn no_room_keeps_nothing() {
        let cache = Cache::new(0);
        cache.insert(key(1), block(1));
        assert_eq!(cache.find(key(1)), None);
    }

    #[test]
    fn a_poisoned_lock_still_opens() {
        let cache = Cache::new(1);
        cache.insert(key(1), block(1));
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _guard = cache.lock();
                panic!("poisons the lock");
            });
            holder.join().is_err()
        });
        assert!(panicked && cache.0.is_poisoned());
        assert_eq!(cache.find(key(1)).unwrap()[0], 1);
    }
}
