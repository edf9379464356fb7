//! Python module `confext._confext`.
