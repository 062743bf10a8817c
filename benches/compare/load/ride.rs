//! Requests over connections that stand: at a fixed rate, or as many as go.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::client::{Dialer, Spoken, Target, Tickets};
use crate::lines::{Orders, tell};
use crate::wire::request;
use crate::{pace, rider, rush};

/// What is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Target,
    /// Open connections; an order says how many of them are active.
    #[arg(long)]
    connections: usize,
}

/// Opens all connections, then follows orders until standard input ends.
pub(crate) async fn run(options: Options) -> io::Result<()> {
    let mut orders = Orders::read();
    let dialer = Dialer::new(options.target.port, Spoken::Http1, Tickets::Refused)?;
    let request: Arc<[u8]> = request(&options.target.path).into();
    let mut riders = rider::open(&dialer, &request, options.connections).await?;
    tell(&json!({ "standing": riders.len() }))?;
    while let Some(line) = orders.next().await {
        let order =
            Order::parse(&line).ok_or_else(|| io::Error::other("an order is: ACTIVE RATE SECONDS"))?;
        let active = riders.drain(..order.active.min(riders.len())).collect();
        let (active, told) = match order.rate {
            Some(rate) => pace::run(active, rate, order.span).await?,
            None => rush::run(active, order.span).await?,
        };
        riders.extend(active);
        tell(&told)?;
    }
    Ok(())
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Order {
    /// So many of the connections.
    active: usize,
    /// Requests a second; without it, as many as go.
    rate: Option<f64>,
    span: Duration,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let [active, rate, seconds] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
        let rate: f64 = rate.parse().ok()?;
        let order = Self {
            active: active.parse().ok()?,
            rate: (rate > 0.0).then_some(rate),
            span: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
        };
        (order.active > 0 && rate >= 0.0 && !order.span.is_zero()).then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_whole_or_refused() {
        let order = |rate| Order { active: 2, rate, span: Duration::from_millis(500) };
        assert_eq!(Order::parse("2 3000 0.5"), Some(order(Some(3000.0))));
        assert_eq!(Order::parse("2 0 0.5"), Some(order(None)));
        assert!(
            ["", "1 2", "1 2 3 4", "0 1 1", "1 -1 1", "1 1 0"]
                .iter()
                .all(|line| Order::parse(line).is_none())
        );
    }
}
