//! [`Understood`]: what bytes that were read last say, so that the same bytes are parsed once

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// Longer ones are not kept.
const MOST_BYTES: usize = 1 << 20;
/// Of more places nothing is kept.
const MOST_PLACES: usize = 8;

/// The last bytes of each place, with what they say.
#[derive(Debug, Default)]
pub(crate) struct Understood(Mutex<Vec<Text>>);

#[derive(Debug)]
struct Text {
    place: String,
    bytes: Vec<u8>,
    says: Arc<dyn Any + Send + Sync>,
}

impl Understood {
    /// What the bytes at a place say: what they said before, if they are the same.
    ///
    /// # Errors
    ///
    /// Those of `parse`, which makes no difference between calls with the same bytes at the same place.
    pub(crate) fn of<T: Any + Send + Sync, E>(
        &self,
        place: String,
        bytes: Vec<u8>,
        parse: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |text: &&Text| text.place == place && text.bytes == bytes;
        if let Some(says) = known.iter().find(same).and_then(|text| Arc::clone(&text.says).downcast().ok()) {
            return Ok(says);
        }
        let says = Arc::new(parse(&bytes)?);
        keep(&mut known, Text { place, bytes, says: Arc::<T>::clone(&says) });
        Ok(says)
    }

    /// Takes down what bytes at a place say that were just written there.
    pub(crate) fn learn<T: Any + Send + Sync>(&self, place: String, bytes: Vec<u8>, says: T) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut known, Text { place, bytes, says: Arc::new(says) });
    }
}

fn keep(known: &mut Vec<Text>, new: Text) {
    known.retain(|text| text.place != new.place);
    if new.bytes.len() <= MOST_BYTES && known.len() < MOST_PLACES {
        known.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_parsed_once_and_others_again() {
        let (known, parsed) = (Understood::default(), std::cell::Cell::new(0));
        let ask = |place: &str, bytes: &[u8]| {
            known.of(place.to_owned(), bytes.to_vec(), |bytes| {
                parsed.set(parsed.get() + 1);
                if bytes == b"bad" { Err("bad") } else { Ok(bytes.len()) }
            })
        };
        for (place, bytes, count) in [("a", &b"1"[..], 1), ("a", b"1", 1), ("b", b"1", 2), ("a", b"12", 3)] {
            assert_eq!(*ask(place, bytes).unwrap(), bytes.len());
            assert_eq!(parsed.get(), count);
        }
        assert_eq!(*ask("a", b"1").unwrap(), 1);
        assert_eq!(parsed.get(), 4);
        assert_eq!(ask("a", b"bad"), Err("bad"));
        assert_eq!(ask("a", b"bad"), Err("bad"));
        assert_eq!(parsed.get(), 6);
        known.learn("a".to_owned(), b"123".to_vec(), 3_usize);
        assert_eq!(*ask("a", b"123").unwrap(), 3);
        assert_eq!(parsed.get(), 6);
    }
}
