//! Image policy: parse, print, intersect, judge. The one gate.
