package qmp

import "context"

// SpiceInfo is the former name of SPICEInfo.
//
// Deprecated: use SPICEInfo.
type SpiceInfo = SPICEInfo

// SpiceChannel is the former name of SPICEChannel.
//
// Deprecated: use SPICEChannel.
type SpiceChannel = SPICEChannel

// QuerySpice is the former name of QuerySPICE.
//
// Deprecated: use QuerySPICE.
func (c *Client) QuerySpice(ctx context.Context) (SPICEInfo, error) { return c.QuerySPICE(ctx) }

// SetSpiceTicket is the former name of SetSPICETicket.
//
// Deprecated: use SetSPICETicket.
func (c *Client) SetSpiceTicket(ctx context.Context, ticket string) error {
	return c.SetSPICETicket(ctx, ticket)
}

// ExpireSpiceTicket is the former name of ExpireSPICETicket.
//
// Deprecated: use ExpireSPICETicket.
func (c *Client) ExpireSpiceTicket(ctx context.Context, when string) error {
	return c.ExpireSPICETicket(ctx, when)
}
