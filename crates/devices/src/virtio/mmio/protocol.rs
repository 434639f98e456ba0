//! Numbers of the memory-mapped transport: virtio 1.2, sections 2.1 and 4.2.

/// How much of the guest's address space a device takes, in bytes, the configuration that
/// begins at [`CONFIG`] among them.
pub const LEN: u64 = 0x200;

/// What [`MAGIC_VALUE`] reads as: `virt` (4.2.2).
pub const MAGIC: u32 = 0x7472_6976;
/// What [`VERSION`] reads as (4.2.2).
pub const VERSION_2: u32 = 2;
/// What [`VENDOR_ID`] reads as. Nobody gives these numbers out: `mgnt`.
pub const VENDOR: u32 = 0x746e_676d;

// Registers (4.2.2). R: the driver reads it, W: it writes it.

/// R: [`MAGIC`].
pub const MAGIC_VALUE: u64 = 0x000;
/// R: [`VERSION_2`].
pub const VERSION: u64 = 0x004;
/// R: the kind of the device.
pub const DEVICE_ID: u64 = 0x008;
/// R: [`VENDOR`].
pub const VENDOR_ID: u64 = 0x00c;
/// R: 32 of the features that the device offers.
pub const DEVICE_FEATURES: u64 = 0x010;
/// W: which 32.
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
/// W: 32 of the features that the driver accepts.
pub const DRIVER_FEATURES: u64 = 0x020;
/// W: which 32.
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
/// W: the queue that the registers of queues mean.
pub const QUEUE_SEL: u64 = 0x030;
/// R: the longest that the queue can be, zero for none.
pub const QUEUE_NUM_MAX: u64 = 0x034;
/// W: how long the queue is.
pub const QUEUE_NUM: u64 = 0x038;
/// RW: 1 where the device may use the queue.
pub const QUEUE_READY: u64 = 0x044;
/// W: the queue that has new buffers.
pub const QUEUE_NOTIFY: u64 = 0x050;
/// R: the reasons for interrupts, such as [`INTERRUPT_USED`].
pub const INTERRUPT_STATUS: u64 = 0x060;
/// W: those that were seen to.
pub const INTERRUPT_ACK: u64 = 0x064;
/// RW: the status of the device, such as [`DRIVER_OK`].
pub const STATUS: u64 = 0x070;
/// W: where the queue's descriptors are, lower half.
pub const QUEUE_DESC_LOW: u64 = 0x080;
/// W: upper half.
pub const QUEUE_DESC_HIGH: u64 = 0x084;
/// W: where the queue's available ring is, lower half.
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
/// W: upper half.
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
/// W: where the queue's used ring is, lower half.
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
/// W: upper half.
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// R: length and place of a region of shared memory: the first of four registers.
pub const SHM_LEN_LOW: u64 = 0x0b0;
/// R: the last of the four.
pub const SHM_BASE_HIGH: u64 = 0x0bc;
/// R: changes whenever the configuration does.
pub const CONFIG_GENERATION: u64 = 0x0fc;
/// Where the configuration of the device begins.
pub const CONFIG: u64 = 0x100;

/// What the registers of a region of shared memory that does not exist read as (4.2.2).
pub const NO_REGION: u32 = u32::MAX;

// Reasons for interrupts (4.2.2).

/// Buffers were used.
pub const INTERRUPT_USED: u32 = 1 << 0;
/// The configuration changed, or the device needs a reset.
pub const INTERRUPT_CONFIG: u32 = 1 << 1;

// The status of a device (2.1).

/// The guest knows of the device.
pub const ACKNOWLEDGE: u32 = 1;
/// The guest knows how to drive it.
pub const DRIVER: u32 = 2;
/// The driver is ready.
pub const DRIVER_OK: u32 = 4;
/// Driver and device agree on features.
pub const FEATURES_OK: u32 = 8;
/// The device cannot go on.
pub const NEEDS_RESET: u32 = 64;
/// The driver gave up.
pub const FAILED: u32 = 128;
