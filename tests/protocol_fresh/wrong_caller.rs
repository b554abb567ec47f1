//! Callers that give other arguments than the command takes, or no such command.

use actix_ipc::protocol::{Result, protocol};

protocol! {
    pub mod shop {
        buy { thing: String } return u32;
        fill stream { thing: String } return u32;
    }
}

async fn ask(shop: &shop::Sender) -> Result<()> {
    shop.buy(7).await?; //~ mismatched types
    shop.buy().await?; //~ takes 1 argument but 0
    shop.bye("x".to_owned()).await?; //~ no method named `bye`
    shop.fill(vec![shop::fill::Item { thing: "x".to_owned() }]).await?; //~ is not a stream of `Item`
    shop.fill("x".to_owned()).await?; //~ `futures::stream::iter(…)` makes one
    let _: String = shop.buy("x".to_owned()).await?; //~ mismatched types
    Ok(())
}

fn main() {
    let _ = ask;
}
