package qmp

import "context"

// Deprecated: use SPICEInfo.
type SpiceInfo = SPICEInfo

// Deprecated: use SPICEChannel.
type SpiceChannel = SPICEChannel

// QuerySpice is QuerySPICE.
//
// Deprecated: use QuerySPICE.
func (c *Client) QuerySpice(ctx context.Context) (SPICEInfo, error) { return c.QuerySPICE(ctx) }

// SetSpiceTicket is SetSPICETicket.
//
// Deprecated: use SetSPICETicket.
func (c *Client) SetSpiceTicket(ctx context.Context, ticket string) error {
	return c.SetSPICETicket(ctx, ticket)
}

// ExpireSpiceTicket is ExpireSPICETicket.
//
// Deprecated: use ExpireSPICETicket.
func (c *Client) ExpireSpiceTicket(ctx context.Context, when string) error {
	return c.ExpireSPICETicket(ctx, when)
}
