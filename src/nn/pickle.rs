//! What a pickle of PyTorch describes: dictionaries, numbers and where each tensor's numbers lie.
//!
//! A pickle is a program for a small machine with a stack. Python's own machine may be told to call anything; this one only puts
//! together what a `state_dict` is made of, and refuses every other name. All that it makes lies in flat lists that grow by no more
//! than one entry an instruction, so nothing nests and nothing is larger than the pickle.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

/// What makes a file that can be read of a model in Python.
const REMEDY: &str = "save its weights alone, in Python: torch.save(model.state_dict(), \"weights.pth\")";

/// The most bytes that a description may have; one of a network with a thousand tensors has a tenth of a million.
const MOST: usize = 1 << 24;
/// The most instructions that it may have, each of which makes up to two hundred bytes of memory; a tensor takes about 25.
const MOST_STEPS: usize = 1 << 18;

/// A value of the machine. Those with parts are places in the lists of [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// `None`, a truth value or a number that is not whole: nothing here depends on them.
    Plain,
    Int(i64),
    Text(usize),
    /// A tuple, or a list.
    Row(usize),
    Dict(usize),
    Name(Name),
    Storage(usize),
    Tensor(usize),
    /// Where the parts begin of what is put together next.
    Mark,
}

/// A name that may be called, or that stands for a type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: the type of the numbers is that of the storage.
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: the type of the numbers is told, the storage counts bytes.
    TypedTensor,
    Parameter,
    Size,
    Number(Number),
    /// `torch.storage.UntypedStorage`.
    Bytes,
}

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    BF16,
    F32,
    F64,
    I64,
}

impl Number {
    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

/// Numbers in a file of their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// The file's name.
    pub(super) key: String,
    /// Their type; none where they are bytes.
    pub(super) number: Option<Number>,
}

/// Where a tensor's numbers lie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// The storage, by its place in [`Pickle::storages`].
    pub(super) storage: usize,
    pub(super) number: Number,
    /// Numbers before its first.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// Numbers from one to the next along each dimension.
    pub(super) strides: Vec<usize>,
}

/// All that a pickle has described.
#[derive(Debug, Default)]
pub(super) struct Pickle {
    texts: Vec<String>,
    rows: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    tensors: Vec<Tensor>,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

/// The bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("it is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A length of four or eight bytes, which `take` holds against what is there.
    fn length<const N: usize>(&mut self) -> Result<usize> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(bytes)).context("it is cut off")
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.0.iter().position(|&byte| byte == b'\n').context("it is cut off")?;
        let line = self.take(end + 1)?;
        std::str::from_utf8(&line[..end]).context("a name is no text")
    }
}

impl Pickle {
    /// Reads a pickle, and returns what it describes with its outermost value.
    ///
    /// # Errors
    /// When it is cut off, names anything that a `state_dict` is not made of, or makes no sense.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, Value)> {
        ensure!(bytes.len() <= MOST, "its description of the tensors has {} bytes: expected up to {MOST}", bytes.len());
        let mut pickle = Self::default();
        let mut bytes = Bytes(bytes);
        for _ in 0..MOST_STEPS {
            let code = bytes.byte()?;
            if code == b'.' {
                let value = pickle.pop()?;
                return Ok((pickle, value));
            }
            pickle.step(code, &mut bytes)?;
        }
        bail!("its description of the tensors has more than {MOST_STEPS} instructions; {REMEDY}")
    }

    /// The pairs of a dictionary whose keys are texts; none of another value.
    pub(super) fn dict(&self, value: Value) -> Option<impl Iterator<Item = (&str, Value)>> {
        let Value::Dict(dict) = value else { return None };
        Some(self.dicts[dict].iter().filter_map(|&(key, value)| Some((self.text(key)?, value))))
    }

    /// The value as a tensor, if it is one.
    pub(super) fn tensor(&self, value: Value) -> Option<&Tensor> {
        let Value::Tensor(tensor) = value else { return None };
        Some(&self.tensors[tensor])
    }

    fn text(&self, value: Value) -> Option<&str> {
        let Value::Text(text) = value else { return None };
        Some(&self.texts[text])
    }

    /// One instruction, named as in Python's `pickle.py`.
    fn step(&mut self, code: u8, bytes: &mut Bytes) -> Result<()> {
        match code {
            // PROTO, FRAME
            0x80 => {
                let protocol = bytes.byte()?;
                ensure!((2..=5).contains(&protocol), "protocol {protocol} of pickle: expected 2 to 5");
            }
            0x95 => drop(bytes.take(8)?),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.stack.push(Value::Mark),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top; 2]);
            }
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Plain),
            b'G' => {
                bytes.take(8)?;
                self.stack.push(Value::Plain);
            }
            // BININT, BININT1, BININT2, LONG1
            b'J' => self.int(i32::from_le_bytes(bytes.array()?).into()),
            b'K' => self.int(bytes.byte()?.into()),
            b'M' => self.int(u16::from_le_bytes(bytes.array()?).into()),
            0x8a => {
                let length = bytes.byte()?;
                let number = whole(bytes.take(length.into())?)?;
                self.int(number);
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => {
                let length = bytes.length::<4>()?;
                self.add_text(bytes.take(length)?)?;
            }
            0x8c => {
                let length = bytes.byte()?;
                self.add_text(bytes.take(length.into())?)?;
            }
            0x8d => {
                let length = bytes.length::<8>()?;
                self.add_text(bytes.take(length)?)?;
            }
            // EMPTY_TUPLE, TUPLE, TUPLE1 to TUPLE3, EMPTY_LIST, LIST
            b')' | b']' => self.add_row(Vec::new()),
            b't' | b'l' => {
                let parts = self.above_mark()?;
                self.add_row(parts);
            }
            0x85..=0x87 => {
                let mut parts = Vec::new();
                for _ in 0x85..=code {
                    parts.push(self.pop()?);
                }
                parts.reverse();
                self.add_row(parts);
            }
            // APPEND, APPENDS
            b'a' => {
                let part = self.pop()?;
                self.append(vec![part])?;
            }
            b'e' => {
                let parts = self.above_mark()?;
                self.append(parts)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => self.add_dict(),
            b'd' => {
                let parts = self.above_mark()?;
                self.add_dict();
                self.set(parts)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![key, value])?;
            }
            b'u' => {
                let parts = self.above_mark()?;
                self.set(parts)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.put(bytes.byte()?.into())?,
            b'r' => self.put(u32::from_le_bytes(bytes.array()?))?,
            0x94 => self.put(u32::try_from(self.memo.len())?)?,
            b'h' => self.get(bytes.byte()?.into())?,
            b'j' => self.get(u32::from_le_bytes(bytes.array()?))?,
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let name = name(bytes.line()?, bytes.line()?)?;
                self.stack.push(Value::Name(name));
            }
            0x93 => {
                let (own, module) = (self.pop()?, self.pop()?);
                let (module, own) = self.text(module).zip(self.text(own)).context("a name is no text")?;
                let name = name(module, own)?;
                self.stack.push(Value::Name(name));
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => self.add_storage()?,
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.stack.push(made);
            }
            b'b' => {
                // The attributes of a dictionary, such as the versions of the modules: nothing depends on them.
                self.pop()?;
                let built = self.stack.last();
                ensure!(matches!(built, Some(Value::Dict(_))), "it gives attributes to what has none; {REMEDY}");
            }
            _ => bail!("it has an instruction, {code:#04x}, that no state_dict needs; {REMEDY}"),
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        let top = self.stack.pop().filter(|&top| top != Value::Mark);
        top.context("its description of the tensors makes no sense: something is taken that is not there")
    }

    /// What lies above the last mark, which goes.
    fn above_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.stack.iter().rposition(|&value| value == Value::Mark);
        let mark = mark.context("its description of the tensors makes no sense: a mark is missing")?;
        let parts = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(parts)
    }

    fn int(&mut self, number: i64) {
        self.stack.push(Value::Int(number));
    }

    fn add_text(&mut self, bytes: &[u8]) -> Result<()> {
        self.texts.push(std::str::from_utf8(bytes).context("a text is not UTF-8")?.into());
        self.stack.push(Value::Text(self.texts.len() - 1));
        Ok(())
    }

    fn add_row(&mut self, parts: Vec<Value>) {
        self.rows.push(parts);
        self.stack.push(Value::Row(self.rows.len() - 1));
    }

    fn add_dict(&mut self) {
        self.dicts.push(Vec::new());
        self.stack.push(Value::Dict(self.dicts.len() - 1));
    }

    fn append(&mut self, parts: Vec<Value>) -> Result<()> {
        let Some(&Value::Row(row)) = self.stack.last() else { bail!("it adds to what is no list") };
        self.rows[row].extend(parts);
        Ok(())
    }

    /// Adds keys and values, which follow each other.
    fn set(&mut self, parts: Vec<Value>) -> Result<()> {
        let Some(&Value::Dict(dict)) = self.stack.last() else { bail!("it adds to what is no dictionary; {REMEDY}") };
        let (pairs, rest) = parts.as_chunks::<2>();
        ensure!(rest.is_empty(), "a key of a dictionary has no value");
        self.dicts[dict].extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn put(&mut self, place: u32) -> Result<()> {
        let top = self.pop()?;
        self.stack.push(top);
        self.memo.insert(place, top);
        Ok(())
    }

    fn get(&mut self, place: u32) -> Result<()> {
        let value = self.memo.get(&place).copied();
        self.stack.push(value.context("its description of the tensors makes no sense: it recalls what it never kept")?);
        Ok(())
    }

    /// A storage by its persistent id: ("storage", type, key, device, count).
    fn add_storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let parts = self.row(id).context("a storage")?;
        let [kind, of, key, _device, _count] = parts[..] else { bail!("a storage: expected five parts") };
        ensure!(self.text(kind) == Some("storage"), "it refers to something that is no storage");
        let number = match of {
            Value::Name(Name::Number(number)) => Some(number),
            Value::Name(Name::Bytes) => None,
            _ => bail!("a storage: expected its type"),
        };
        let key = self.text(key).filter(|key| key.len() <= 100).context("a storage: expected the name of its file")?;
        self.storages.push(Storage { key: key.to_string(), number });
        self.stack.push(Value::Storage(self.storages.len() - 1));
        Ok(())
    }

    fn row(&self, value: Value) -> Result<&Vec<Value>> {
        let Value::Row(row) = value else { bail!("expected a tuple") };
        Ok(&self.rows[row])
    }

    fn call(&mut self, function: Value, arguments: Value) -> Result<Value> {
        let Value::Name(function) = function else { bail!("it calls what is no function; {REMEDY}") };
        let parts = self.row(arguments)?;
        ensure!(parts.len() <= 10, "it calls {function:?} with {} arguments: expected up to 10", parts.len());
        let parts = parts.clone();
        match (function, &parts[..]) {
            (Name::OrderedDict, []) => {
                self.dicts.push(Vec::new());
                Ok(Value::Dict(self.dicts.len() - 1))
            }
            (Name::Size, &[sizes @ Value::Row(_)]) => Ok(sizes),
            (Name::Parameter, &[tensor @ Value::Tensor(_), ..]) => Ok(tensor),
            (Name::Tensor, &[Value::Storage(storage), offset, shape, strides, ..]) => {
                let number = self.storages[storage].number.context("a tensor: its storage has no type")?;
                self.add_tensor(storage, number, [offset, shape, strides])
            }
            (
                Name::TypedTensor,
                &[Value::Storage(storage), offset, shape, strides, _, _, Value::Name(Name::Number(number)), ..],
            ) => self.add_tensor(storage, number, [offset, shape, strides]),
            _ => bail!("it makes {function:?} of what none is made of"),
        }
    }

    fn add_tensor(&mut self, storage: usize, number: Number, parts: [Value; 3]) -> Result<Value> {
        let size = |value: &Value| match *value {
            Value::Int(size) => usize::try_from(size).context("a tensor: a size is negative"),
            _ => bail!("a tensor: a size is no number"),
        };
        let [offset, shape, strides] = parts;
        let sizes = |value: Value| {
            let sizes = self.row(value)?;
            ensure!(sizes.len() <= 8, "a tensor has {} dimensions: expected up to 8", sizes.len());
            sizes.iter().map(size).collect::<Result<Vec<_>>>()
        };
        let tensor = Tensor { storage, number, offset: size(&offset)?, shape: sizes(shape)?, strides: sizes(strides)? };
        ensure!(tensor.shape.len() == tensor.strides.len(), "a tensor has other dimensions than strides");
        self.tensors.push(tensor);
        Ok(Value::Tensor(self.tensors.len() - 1))
    }
}

/// A whole number of up to eight bytes, the least significant first, in two's complement.
fn whole(bytes: &[u8]) -> Result<i64> {
    ensure!(bytes.len() <= 8, "a number has {} bytes: expected up to 8", bytes.len());
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Ok(i64::from_le_bytes(whole))
}

/// The name, if it is one of those that a `state_dict` is made of.
fn name(module: &str, own: &str) -> Result<Name> {
    Ok(match (module, own) {
        ("collections", "OrderedDict") => Name::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Name::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Name::TypedTensor,
        ("torch._utils", "_rebuild_parameter") => Name::Parameter,
        ("torch", "Size") => Name::Size,
        ("torch.storage", "UntypedStorage") => Name::Bytes,
        ("torch", "HalfStorage" | "float16") => Name::Number(Number::F16),
        ("torch", "BFloat16Storage" | "bfloat16") => Name::Number(Number::BF16),
        ("torch", "FloatStorage" | "float32") => Name::Number(Number::F32),
        ("torch", "DoubleStorage" | "float64") => Name::Number(Number::F64),
        ("torch", "LongStorage" | "int64") => Name::Number(Number::I64),
        _ => bail!(
            "it holds {module:?} {own:?}, and not only tensors of floating-point numbers and counters; what is in a file may be made to run \
             whatever it names, so nothing but tensors is taken from it: {REMEDY}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": tensor of 2 x 3}`, as `torch.save` writes it, with its `_metadata`.
    pub(super) fn of_a_tensor() -> Vec<u8> {
        let mut bytes = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec();
        bytes.extend(b"X\x01\0\0\0aq\x02ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\0\0\0storageq\x04ctorch\nFloatStorage\nq\x05");
        bytes.extend(b"X\x01\0\0\x000q\x06X\x03\0\0\0cpuq\x07K\x06tq\x08QK\0K\x02K\x03\x86q\x09K\x03K\x01\x86q\x0a\x89h\0)Rq\x0btq\x0cRq\x0d");
        bytes.extend(b"u}q\x0eX\x09\0\0\0_metadataq\x0f}sb.");
        bytes
    }

    #[test]
    fn a_state_dict_is_read() {
        let (pickle, top) = Pickle::read(&of_a_tensor()).unwrap();
        let found: Vec<_> = pickle.dict(top).unwrap().collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "a");
        let tensor = pickle.tensor(found[0].1).unwrap();
        let expected = Tensor { storage: 0, number: Number::F32, offset: 0, shape: vec![2, 3], strides: vec![3, 1] };
        assert_eq!((tensor, &pickle.storages[0].key[..]), (&expected, "0"));
    }

    /// The same by protocol 4, as `torch.save(.., pickle_protocol=4)` writes names, texts and the memo.
    #[test]
    fn a_later_protocol_is_read() {
        let bytes = b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94K\x07\x8c\x01b\x94]\x94(J\xff\xff\xff\xff\x8a\x02\xff\x7fe\x8c\x01c\x94h\x03u.";
        let (pickle, top) = Pickle::read(bytes).unwrap();
        let found: Vec<_> = pickle.dict(top).unwrap().collect();
        assert_eq!(found[0], ("a", Value::Int(7)));
        assert_eq!(found[1].1, found[2].1, "by the memo");
        assert_eq!(pickle.row(found[1].1).unwrap()[..], [Value::Int(-1), Value::Int(0x7fff)]);
    }

    /// A parameter of numbers whose type is told beside a storage of bytes, as PyTorch writes types that have no storage of their own.
    #[test]
    fn the_type_of_the_numbers_may_stand_beside_them() {
        let bytes = [
            &b"ctorch._utils\n_rebuild_parameter\n(ctorch._utils\n_rebuild_tensor_v3\n("[..],
            b"(\x8c\x07storagectorch.storage\nUntypedStorage\n\x8c\x010\x8c\x03cpuK\x20tQ",
            b"K\x02K\x01K\x02\x86K\x02K\x01\x86\x89}ctorch\nfloat64\ntR\x88}tR.",
        ]
        .concat();
        let (pickle, top) = Pickle::read(&bytes).unwrap();
        let expected = Tensor { storage: 0, number: Number::F64, offset: 2, shape: vec![1, 2], strides: vec![2, 1] };
        assert_eq!(pickle.tensor(top).unwrap(), &expected);
        assert_eq!(pickle.storages, [Storage { key: "0".into(), number: None }]);
    }

    #[test]
    fn nothing_else_is_called() {
        for (module, own) in [
            ("os", "system"),
            ("builtins", "eval"),
            ("torch.nn.modules.container", "Sequential"),
            ("torch", "load"),
            ("torch", "\u{1b}[2J"),
            ("collections", "OrderedDict.fromkeys"),
        ] {
            let by_line = format!("c{module}\n{own}\n(X\x02\0\0\0lstR.");
            let mut by_stack = vec![0x8c, module.len() as u8];
            by_stack.extend(module.as_bytes());
            by_stack.extend([0x8c, own.len() as u8]);
            by_stack.extend(own.as_bytes());
            by_stack.extend(b"\x93)R.");
            for bytes in [by_line.as_bytes(), &by_stack] {
                let error = format!("{:#}", Pickle::read(bytes).unwrap_err());
                assert!(error.contains(&format!("{module:?} {own:?}")) && !error.contains('\u{1b}'), "{error}");
                assert!(error.contains("torch.save(model.state_dict(), \"weights.pth\")"), "{error}");
            }
        }
        // Python's other ways to call: INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID.
        for code in *b"io\x81\x92\x82P" {
            let error = format!("{:#}", Pickle::read(&[b'(', code, b'a', b'\n', b'b', b'\n', b'.']).unwrap_err());
            assert!(error.contains("that no state_dict needs"), "{error}");
        }
    }

    /// Wherever it is cut off, whatever byte is changed, and however deep or large it says that things are: an answer or an error.
    #[test]
    fn what_makes_no_sense_is_refused() {
        let whole = of_a_tensor();
        for end in 0..whole.len() {
            assert!(Pickle::read(&whole[..end]).is_err(), "cut off at {end}");
        }
        for place in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[place] = byte;
                drop(Pickle::read(&changed));
            }
        }
        let deep = |open: &[u8], times: usize| [open.repeat(times), b".".to_vec()].concat();
        assert!(Pickle::read(&deep(b"]\x85", 100_000)).is_ok(), "nothing nests");
        drop(Pickle::read(&deep(b"(", 1_000_000)));
        drop(Pickle::read(b"]q\0h\0a."));
        for (bytes, told) in [
            (&b"X\xff\xff\xff\xffabc."[..], "cut off"),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.", "cut off"),
            (b"\x8a\xff0.", "cut off"),
            (b"\x80\x00.", "protocol 0"),
            (b"h\x07.", "recalls"),
            (b"t.", "a mark is missing"),
            (b"(.", "taken that is not there"),
            (b"Nb.", "gives attributes to what has none"),
            (b"K\x01s.", "taken that is not there"),
            (b"NK\x01K\x02s.", "no dictionary"),
            (b"}(K\x01u.", "has no value"),
            (b"K\x01)R.", "no function"),
            (b"ctorch\nSize\nK\x01R.", "expected a tuple"),
            (b"ccollections\nOrderedDict\n(K\x01tR.", "OrderedDict"),
            (b"K\x01Q.", "a storage"),
        ] {
            let error = format!("{:#}", Pickle::read(bytes).unwrap_err());
            assert!(error.contains(told), "{told}: {error}");
        }
        assert!(Pickle::read(&vec![b'N'; MOST + 1]).is_err());
        let error = format!("{:#}", Pickle::read(&deep(b"}", MOST_STEPS)).unwrap_err());
        assert!(error.contains("more than 262144 instructions"), "{error}");
    }
}
