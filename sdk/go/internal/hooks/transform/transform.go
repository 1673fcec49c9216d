// Package transform is where the generated export finds the plugin.
package transform

import "keyway/internal/wit/keyway_transform_types"

// Transform is set by package keyway.
var Transform func(keyway_transform_types.Message) keyway_transform_types.Verdict
