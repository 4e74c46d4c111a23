// The numbers of workgroups and of their invocations among all of a kernel's: a dispatch folds its workgroups into two dimensions where
// one does not hold them, and holds but some of a kernel's where the kernel is more work than a dispatch may be.

// 1u where a dispatch holds some of the workgroups, which the host decides: all others need not look where theirs begin.
const IN_PARTS = 0u;

// Workgroups before the dispatch's own.
@group(0) @binding(20) var<uniform> workgroups_before: u32;

fn workgroup_number(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return IN_PARTS * workgroups_before + group.x + group.y * groups.x;
}

// Where a workgroup has 64 invocations.
fn invocation_number(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return IN_PARTS * workgroups_before * 64u + id.x + id.y * groups.x * 64u;
}
