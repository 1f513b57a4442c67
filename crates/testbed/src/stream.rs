//! The stream of a place.

use async_nats::{
    ConnectOptions, ServerAddr,
    jetstream::{
        self, Context,
        message::StreamMessage,
        stream::{RawMessageErrorKind, Stream},
    },
};

use crate::Place;

impl Place {
    async fn jetstream(&self) -> Context {
        let address: ServerAddr = self.nats_url.parse().unwrap();
        let options = match (address.username(), address.password()) {
            (Some(user), Some(password)) => {
                ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
            }
            _ => ConnectOptions::new(),
        };
        jetstream::new(options.connect(address).await.unwrap())
    }

    /// Every message of the stream, in its order.
    pub async fn messages(&self) -> Vec<StreamMessage> {
        let Ok(mut stream) = self.jetstream().await.get_stream(&self.name).await else {
            return Vec::new();
        };
        let state = stream.info().await.unwrap().state.clone();
        let mut messages = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            match stream.get_raw_message(sequence).await {
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                message => messages.push(message.unwrap()),
            }
        }
        messages
    }

    /// Where there is one.
    pub(crate) async fn delete_stream(&self) {
        drop(self.jetstream().await.delete_stream(&self.name).await);
    }
}

/// The stream, which has to be there.
pub async fn stream(place: &Place) -> Stream {
    let stream = place.jetstream().await.get_stream(&place.name).await;
    stream.unwrap()
}
