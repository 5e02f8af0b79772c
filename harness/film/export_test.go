package film

// GroupFrames is how many frames a group has at most.
const GroupFrames = groupFrames
