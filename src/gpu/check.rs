//! Holds kernels' declarations against their WGSL, with the parser of the shader compiler.

use naga::{AddressSpace, ScalarKind, StorageAccess, TypeInner};

use super::kernel::{Access, Declaration, Layout, Scalar, Source, WORKGROUPS_BEFORE};

impl Source {
    /// Parses the whole module.
    ///
    /// # Panics
    /// When it is not valid WGSL, which is a mistake in this crate.
    pub fn parse(&self) -> naga::Module {
        let module = self.module();
        naga::front::wgsl::parse_str(&module)
            .unwrap_or_else(|error| panic!("shaders/{}: {}", self.file, error.emit_to_string(&module)))
    }
}

impl Declaration {
    /// Holds the declaration against the WGSL: the same names, the same access, uniform structs with the same fields at
    /// the same offsets, storage buffers of 32-bit scalars or vectors of four, one bind group.
    ///
    /// # Errors
    /// One sentence that names the file, the entry point and the argument.
    pub fn check(&self) -> Result<(), String> {
        let module = self.source.parse();
        let place = format!("shaders/{}, fn {}", self.source.file, self.entry);
        let used = bindings(&module, self.entry).ok_or(format!("{place}: there is no such entry point"))?;
        for (name, _) in self.arguments {
            if !used.iter().any(|(global, _)| global == name) {
                return Err(format!("{place}: the kernel does not use the argument `{name}`"));
            }
        }
        for (name, variable) in used {
            let variable = &module.global_variables[variable];
            let Some((_, access)) = self.arguments.iter().find(|(argument, _)| *argument == name) else {
                return Err(format!("{place}: the host does not pass `{name}`"));
            };
            if variable.binding.is_none_or(|binding| binding.group != 0) {
                return Err(format!("{place}: `{name}` is not in bind group 0"));
            }
            let found = &module.types[variable.ty].inner;
            match (variable.space, access) {
                (AddressSpace::Uniform, Access::Uniform(layout)) => {
                    check_layout(&module, found, layout).map_err(|error| format!("{place}: `{name}`: {error}"))?;
                }
                (AddressSpace::Storage { access: declared }, Access::Read | Access::Write | Access::Update) => {
                    let writable = declared.contains(StorageAccess::STORE);
                    if writable != access.writes() {
                        return Err(format!(
                            "{place}: `{name}` is declared {access:?} on the host, {declared:?} in WGSL"
                        ));
                    }
                    if !is_plain_array(&module, found) {
                        return Err(format!(
                            "{place}: `{name}` is not an array of f32, u32 or vectors of four of them"
                        ));
                    }
                }
                (space, _) => {
                    return Err(format!("{place}: `{name}` is {access:?} on the host, {space:?} in WGSL"));
                }
            }
        }
        Ok(())
    }
}

/// The global variables that an entry point uses, by name, without the one that every kernel has beside its arguments.
///
/// Returns `None` when there is no such entry point.
fn bindings(module: &naga::Module, entry: &str) -> Option<Vec<(String, naga::Handle<naga::GlobalVariable>)>> {
    let index = module.entry_points.iter().position(|point| point.name == entry)?;
    let info = naga::valid::Validator::new(Default::default(), naga::valid::Capabilities::all())
        .validate(module)
        .unwrap_or_else(|error| panic!("{entry}: {}", error.emit_to_string("")));
    let point = info.get_entry_point(index);
    Some(
        module
            .global_variables
            .iter()
            .filter(|(handle, variable)| variable.binding.is_some() && !point[*handle].is_empty())
            .map(|(handle, variable)| (variable.name.clone().unwrap_or_default(), handle))
            .filter(|(name, _)| name != WORKGROUPS_BEFORE)
            .collect(),
    )
}

fn check_layout(module: &naga::Module, found: &TypeInner, layout: Layout) -> Result<(), String> {
    let TypeInner::Struct { members, .. } = found else {
        return Err("is not a struct in WGSL".into());
    };
    let described: Vec<_> = members
        .iter()
        .map(|member| {
            let scalar = match module.types[member.ty].inner {
                TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Uint, width: 4 }) => Some(Scalar::U32),
                TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Float, width: 4 }) => Some(Scalar::F32),
                _ => None,
            };
            (member.name.as_deref().unwrap_or_default(), scalar, member.offset as usize)
        })
        .collect();
    let expected: Vec<_> = layout.iter().map(|&(name, scalar, offset)| (name, Some(scalar), offset)).collect();
    if described == expected { Ok(()) } else { Err(format!("the host has {expected:?}, WGSL has {described:?}")) }
}

fn is_plain_array(module: &naga::Module, found: &TypeInner) -> bool {
    let TypeInner::Array { base, .. } = found else {
        return false;
    };
    matches!(
        module.types[*base].inner,
        TypeInner::Scalar(naga::Scalar { kind: ScalarKind::Float | ScalarKind::Uint, width: 4 })
            | TypeInner::Vector {
                size: naga::VectorSize::Quad,
                scalar: naga::Scalar { kind: ScalarKind::Float | ScalarKind::Uint, width: 4 }
            }
    )
}
