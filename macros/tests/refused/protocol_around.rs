//! What cannot stand above a protocol, and what joins no protocols.

use actix_ipc_macros::{protocol, protocol_handler, protocol_sender};

protocol! {
    #[versoin(2)]
    pub mod unknown {
        tick;
    }
}

protocol! {
    #[version(0)]
    pub mod zero {
        tick;
    }
}

protocol! {
    #[version(65536)]
    pub mod too_large {
        tick;
    }
}

protocol! {
    #[version = 2]
    pub mod misspelt {
        tick;
    }
}

protocol! {
    #[crate_name = "shop"]
    pub mod misspelt_crate {
        tick;
    }
}

protocol! {
    pub mod of_the_module {
        #[version(2)]
        tick;
    }
}

protocol! {
    pub struct NoModule {
        tick: u8,
    }
}

protocol_sender!(AppSender impl app);
protocol_sender!(AppSender [app, admin]);
protocol_handler!(AppReceiver impl []);
protocol_handler!(AppReceiver impl [app] for Handler);

fn main() {}
