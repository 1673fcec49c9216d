// Package replies is where the generated export finds what the plugin does with replies.
package replies

import "keyway/internal/wit/keyway_transform_types"

// OnReplies is set by package keyway.
var OnReplies func(keyway_transform_types.Message, []keyway_transform_types.Exchange) keyway_transform_types.Next
