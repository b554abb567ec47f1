//! A command from what a broker's client calls: the method names the variant, the parameters are its fields.
//!
//! Owns the match of names and shapes; called by `object` for parameters in JSON. A command that is no enum takes the parameters whatever
//! the method is.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, VariantAccess,
    Visitor,
};
use serde_json::{Error, Value};

/// Why there is no command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// No variant has the method's name.
    NoSuchMethod(String),
    /// The parameters are not its fields.
    Parameters(String),
}

/// The command that `method` with `parameters` means. `add_user`, `AddUser` and `add-user` are the same method.
pub(super) fn command<C: DeserializeOwned>(method: &str, parameters: Value) -> Result<C, Mismatch> {
    let mut unknown = None;
    let result = C::deserialize(Call {
        method,
        parameters,
        unknown: &mut unknown,
    });
    match (result, unknown) {
        (Ok(command), _) => Ok(command),
        (Err(_), Some(variants)) => Err(Mismatch::NoSuchMethod(format!(
            "there is no method {method}; there are {}",
            variants.join(", ")
        ))),
        (Err(error), None) => Err(Mismatch::Parameters(error.to_string())),
    }
}

struct Call<'a> {
    method: &'a str,
    parameters: Value,
    unknown: &'a mut Option<&'static [&'static str]>,
}

/// Whether two names are the same but for how their words are put together.
fn is_same(variant: &str, method: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = char> {
        name.chars()
            .filter(|letter| !matches!(letter, '_' | '-'))
            .flat_map(char::to_lowercase)
    }
    letters(variant).eq(letters(method))
}

impl<'de> Deserializer<'de> for Call<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parameters.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let exact = variants.iter().find(|variant| **variant == self.method);
        let found = exact.or_else(|| variants.iter().find(|variant| is_same(variant, self.method)));
        let Some(variant) = found else {
            *self.unknown = Some(variants);
            return Err(Error::custom("no such variant"));
        };
        visitor.visit_enum(Variant {
            name: variant,
            parameters: self.parameters,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.parameters.deserialize_option(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Variant {
    name: &'static str,
    parameters: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl Variant {
    /// Nothing, in the forms in which clients say it.
    fn is_empty(&self) -> bool {
        match &self.parameters {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        }
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Error::custom(format!("{} has no parameters", self.name)))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.parameters)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.parameters.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.parameters.deserialize_struct(self.name, fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Admin {
        Stop,
        AddUser { name: String, age: Option<u8> },
        Say(String),
        Move(i32, i32),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Admin);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain {
        x: u64,
    }

    #[test]
    fn the_method_is_the_variant_and_the_parameters_are_its_fields() {
        let add = |age| Admin::AddUser {
            name: "Ada".into(),
            age,
        };
        let table = [
            ("stop", json!(null), Admin::Stop),
            ("Stop", json!([]), Admin::Stop),
            ("stop", json!({}), Admin::Stop),
            ("add_user", json!({"name": "Ada", "age": 36}), add(Some(36))),
            ("AddUser", json!({"name": "Ada"}), add(None)),
            ("add-user", json!(["Ada", null]), add(None)),
            ("say", json!("hello"), Admin::Say("hello".into())),
            ("move", json!([1, -2]), Admin::Move(1, -2)),
        ];
        for (method, parameters, expected) in table {
            assert_eq!(command::<Admin>(method, parameters.clone()), Ok(expected));
            assert!(command::<Wrapped>(method, parameters).is_ok());
        }
        assert_eq!(command::<Plain>("whatever", json!({"x": 3})), Ok(Plain { x: 3 }));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let no_method = command::<Admin>("fly", json!(null));
        let expected = "there is no method fly; there are Stop, AddUser, Say, Move";
        assert_eq!(no_method, Err(Mismatch::NoSuchMethod(expected.into())));
        let table = [
            ("stop", json!(1), "Stop has no parameters"),
            ("add_user", json!({"age": 3}), "missing field `name`"),
            ("add_user", json!({"name": "Ada", "age": 300}), "invalid value"),
            ("say", json!(3), "expected a string"),
            ("move", json!([1]), "invalid length 1"),
        ];
        for (method, parameters, text) in table {
            match command::<Admin>(method, parameters) {
                Err(Mismatch::Parameters(error)) => assert!(error.contains(text), "{error}"),
                other => panic!("{method}: {other:?}"),
            }
        }
    }
}
