//! Limits.

use std::time::Duration;

use crate::config::file::basics::{self, Connections};
use crate::config::file::rate::{Rate, RateClass};
use crate::config::model::limits::{self, Limits, Rates};
use crate::config::problem::Finding;
use crate::config::resolve::Resolver;
use crate::config::scalar::quantity::Time;
use crate::matrix::class::Class;

/// A client's account of requests is remembered for so long at the most.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl Resolver<'_> {
    /// The limits.
    pub(crate) fn limits(&mut self) -> Limits {
        let limits = &self.file.limits;
        Limits {
            connections: match limits.connections {
                Connections::Auto(_) => None,
                Connections::Count(count) => Some(count.as_usize()),
            },
            connections_per_address: limits.connections_per_address.as_usize(),
            handshake: limits.handshake.0,
            request_head: limits.request_head.0,
            keep_alive: limits.keep_alive.0,
            tunnel_idle: limits.tunnel_idle.0,
            body_progress: limits.body_progress.0,
            body: limits.body.0,
            rates: self.rates(limits),
        }
    }

    fn rates(&mut self, limits: &basics::Limits) -> Rates {
        let classes: Vec<_> = limits.rate.iter().map(|rate| rate.class).collect();
        self.each_once(&classes, |class| {
            format!("the class `{}` is limited twice", self::class(*class).name())
        });
        let mut rates = Rates::default();
        for rate in &limits.rate {
            self.short_enough(rate);
            let resolved = limits::Rate { burst: rate.burst.0, every: rate.every.value.0 };
            rates.limit(class(rate.class.value), resolved);
        }
        rates
    }

    fn short_enough(&mut self, rate: &Rate) {
        let full = rate.every.value.0.saturating_mul(rate.burst.0);
        if full > LONGEST {
            let most = Time(LONGEST);
            self.findings.push(
                Finding::error(rate.every.place, "`burst` times `every` is too long")
                    .label(format!("{} times this is more than {most}", rate.burst.0))
                    .help(format!(
                        "a client that used up its burst has all of it again after that time: {most} at most"
                    )),
            );
        }
    }
}

fn class(written: RateClass) -> Class {
    match written {
        RateClass::Sync => Class::Sync,
        RateClass::Send => Class::Send,
        RateClass::Federation => Class::Federation,
        RateClass::Keys => Class::Keys,
        RateClass::Media => Class::Media,
        RateClass::Login => Class::Login,
        RateClass::Client => Class::Client,
        RateClass::Other => Class::Other,
    }
}
