//! The link home: how the tunnel stands, and where home is when its address moves.
