//! Who does the duties.

use std::time::Duration;

use taskwright_core::WorkerId;

use crate::lead::Fence;

use super::worker::micros;
use super::world::{ProcessId, World};

/// The newest leader.
#[derive(Debug)]
pub(super) struct Leader {
    node: WorkerId,
    process: ProcessId,
    fence: u64,
    until_us: u64,
}

impl World {
    pub(super) fn lead(
        &mut self,
        process: ProcessId,
        monotonic_us: u64,
        node: WorkerId,
        lease: Duration,
    ) -> Option<Fence> {
        let fence = match &self.leader {
            None => 1,
            Some(leader) if leader.node == node => leader.fence,
            Some(leader) if leader.until_us <= monotonic_us || !self.is_present(leader.process) => {
                leader.fence + 1
            }
            Some(_) => return None,
        };
        let until_us = monotonic_us.saturating_add(micros(lease));
        self.leader = Some(Leader { node, process, fence, until_us });
        Some(Fence(fence))
    }

    pub(super) fn resign(&mut self, node: WorkerId) {
        if let Some(leader) = self.leader.as_mut().filter(|leader| leader.node == node) {
            leader.until_us = 0;
        }
    }
}
