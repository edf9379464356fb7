//! Refusals: policy or host match says no.

family! {
    /// Policy or host match says no.
    Refused {
        /// The image is less protected than the policy asks for.
        Policy { designator: &'static str, found: &'static str, expected: String } = "policy",
            "policy refuses the {designator} partition: found protection {found}, expected {expected}",
            "sign the image with a trusted key, or pass a policy that allows less by explicit choice";
        // verity
        /// The caller's progress callback asked to stop.
        Cancelled { done: u64, total: u64 } = "cancelled",
            "stopped by the caller after {done} of {total} bytes",
            "start again when it suits";
    }
}
