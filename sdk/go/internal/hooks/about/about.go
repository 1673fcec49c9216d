// Package about is where the generated export finds what the plugin says of itself.
package about

import "keyway/internal/wit/keyway_transform_about"

// Describe is set by package keyway.
var Describe func() keyway_transform_about.Description
