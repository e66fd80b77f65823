//! An instance in its sync group.

use std::time::Duration;

use fulcrum_model::Name;
use fulcrum_vrrp::Input;
use fulcrum_vrrp::group::{Command, Member};

use super::Router;
use crate::addresses::View;
use crate::vrrp::sockets::AdvertSocket;

impl Router {
    /// Its sync group.
    pub(in crate::vrrp) fn group(&self) -> Option<&Name> {
        self.plan.options.sync_group.as_ref().filter(|_| !self.is_leaving)
    }

    /// How it stands in its sync group.
    pub(in crate::vrrp) fn member(&self, now: Duration) -> Member {
        let is_able = self.is_ready() && self.wait().is_none();
        self.witness.member(now, &self.instance, is_able)
    }

    /// Does what its sync group decides.
    pub(in crate::vrrp) fn obey(
        &mut self,
        now: Duration,
        command: Command,
        view: &View,
        socket: Option<&AdvertSocket>,
    ) {
        match command {
            Command::Stay => {}
            Command::Begin => self.begin(now, view, socket),
            Command::Leave => self.step(now, Input::Shutdown, socket),
            Command::Yield => {
                self.step(now, Input::Shutdown, socket);
                self.step(now, Input::Up, socket);
            }
            Command::TakeOver => self.step(now, Input::TakeOver, socket),
            Command::Wait { until } => self.step(now, Input::Wait { until }, socket),
        }
    }
}
