package value

import "maps"

// ApplyMergePatch returns target with a merge patch (RFC 7386, now RFC 7396)
// applied: members of patch replace those of target, null removes them, objects
// go down into objects, and anything that is not an object, typed values
// included, replaces target whole. It changes neither argument, and its result
// may share parts with both. It can exceed limits that they keep: [Check] it.
func ApplyMergePatch(target, patch any) any {
	members, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	old, _ := target.(map[string]any)
	merged := make(map[string]any, len(old)+len(members))
	maps.Copy(merged, old)
	for name, v := range members {
		if v == nil {
			delete(merged, name)
		} else {
			merged[name] = ApplyMergePatch(merged[name], v)
		}
	}
	return merged
}
