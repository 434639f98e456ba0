//! A device from start to reset, and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use virtio_queue::QueueT;

use super::fixture::{EVENT_IDX, Guest, VERSION_1};
use crate::testing::{Buffer, DriverQueue, MmioDriver, memory};
use crate::virtio::device::{Activation, Counters, DeviceError, DeviceType, VirtioDevice};
use crate::virtio::mmio::protocol as p;
use crate::virtio::rng::Rng;

#[test]
fn kicks_come_from_registers_and_from_the_host() {
    let guest = Guest::new();
    let transport = guest.driver.transport();
    guest.driver.kick(0);
    transport.queue_kicked(0);
    assert_eq!(guest.kicks(), [0; 0], "nobody is there yet");
    guest.bring_up();
    guest.driver.kick(1);
    transport.queue_kicked(0);
    guest.driver.kick(2);
    guest.driver.kick(u32::MAX);
    transport.queue_kicked(usize::MAX);
    assert_eq!(guest.kicks(), [1, 0]);
}

#[test]
fn a_queue_that_is_not_used_is_not_kicked() {
    let guest = Guest::new();
    let [first, _] = guest.queues();
    assert!(guest.driver.bring_up(VERSION_1, &[&first]));
    guest.driver.kick(1);
    assert_eq!(guest.kicks(), [0; 0]);
}

#[test]
fn interrupts_have_reasons() {
    let guest = Guest::live();
    let interrupt = guest.seen.lock().unwrap().interrupt.clone().unwrap();
    interrupt.queue_used(0);
    interrupt.queue_used(1);
    assert_eq!(guest.driver.take_interrupts(), 2);
    assert_eq!(guest.driver.read(p::INTERRUPT_STATUS), p::INTERRUPT_USED);
    assert_eq!(guest.driver.read(p::CONFIG_GENERATION), 0);
    interrupt.config_changed();
    assert_eq!(guest.driver.read(p::CONFIG_GENERATION), 1);
    assert_eq!(guest.driver.read(p::INTERRUPT_STATUS), p::INTERRUPT_USED | p::INTERRUPT_CONFIG);
    guest.driver.write(p::INTERRUPT_ACK, p::INTERRUPT_USED);
    assert_eq!(guest.driver.acknowledge(), p::INTERRUPT_CONFIG);
    assert_eq!(guest.driver.acknowledge(), 0);
    interrupt.queue_used(0);
    guest.driver.reset();
    assert_eq!(guest.driver.read(p::INTERRUPT_STATUS), 0);
}

#[test]
fn a_device_works_again_after_a_reset() {
    let guest = Guest::live();
    for round in 1..4 {
        assert!(guest.is_active());
        guest.driver.kick(0);
        assert_eq!(guest.kicks(), [0]);
        guest.driver.reset();
        assert_eq!((guest.driver.status(), guest.is_active()), (0, false), "round {round}");
        assert_eq!(guest.driver.read(p::QUEUE_READY), 0);
        guest.driver.kick(0);
        assert_eq!(guest.kicks(), [0; 0]);
        guest.bring_up();
        let seen = guest.seen.lock().unwrap();
        let queues = seen.queues.as_ref().unwrap();
        assert_eq!((queues[0].next_avail(), queues[0].next_used()), (0, 0));
    }
}

#[test]
fn a_device_that_cannot_go_on_says_so_and_stops() {
    let check = |fail: fn(&Guest)| {
        let guest = Guest::live();
        guest.seen.lock().unwrap().fails = Some(DeviceError::BrokenQueue { queue: 0 });
        fail(&guest);
        assert_eq!(guest.driver.status() & p::NEEDS_RESET, p::NEEDS_RESET);
        assert_eq!(guest.driver.take_interrupts(), 1);
        assert_eq!(guest.driver.acknowledge(), p::INTERRUPT_CONFIG);
        assert!(!guest.is_active());
        guest.kicks();
        // Only a reset changes that.
        guest.driver.write(p::STATUS, guest.driver.status());
        guest.driver.start();
        guest.driver.kick(0);
        guest.driver.transport().queue_kicked(1);
        guest.driver.transport().host_ready(0);
        assert_eq!((guest.kicks(), guest.driver.take_interrupts()), (Vec::<usize>::new(), 0));
        guest.seen.lock().unwrap().fails = None;
        guest.bring_up();
        guest.driver.kick(1);
        assert_eq!(guest.kicks(), [1]);
    };
    check(|guest| guest.driver.kick(0));
    check(|guest| guest.driver.transport().queue_kicked(1));
    check(|guest| guest.driver.transport().host_ready(0));
}

#[test]
fn a_driver_that_gives_up_or_takes_a_queue_back_stops_the_device() {
    let check = |give_up: fn(&MmioDriver)| {
        let guest = Guest::live();
        give_up(&guest.driver);
        assert!(!guest.is_active());
        guest.driver.kick(1);
        guest.driver.start();
        assert_eq!(guest.kicks(), [0; 0]);
        assert_eq!(guest.driver.read(p::INTERRUPT_STATUS), 0);
        guest.bring_up();
    };
    check(|driver| driver.write(p::STATUS, driver.status() | p::FAILED));
    check(|driver| {
        driver.write(p::QUEUE_SEL, 0);
        driver.write(p::QUEUE_READY, 0);
        assert_eq!(driver.read(p::QUEUE_READY), 0);
    });
}

#[test]
fn a_queue_that_is_taken_back_before_the_start_can_be_moved() {
    let guest = Guest::new();
    let [first, second] = guest.queues();
    assert!(guest.driver.accept(VERSION_1 | EVENT_IDX));
    assert!(guest.driver.set_up_queue(1, &first));
    guest.driver.write(p::QUEUE_READY, 0);
    assert_eq!(guest.driver.read(p::QUEUE_READY), 0);
    assert!(guest.driver.set_up_queue(1, &second) && guest.driver.set_up_queue(0, &first));
    guest.driver.start();
    let seen = guest.seen.lock().unwrap();
    assert_eq!(seen.queues.as_ref().unwrap()[1].desc_table(), second.addresses()[0]);
}

/// A device that is at work until it is told to stop.
struct Busy(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);

impl VirtioDevice for Busy {
    fn device_type(&self) -> DeviceType {
        DeviceType::Entropy
    }

    fn name(&self) -> String {
        "busy".to_owned()
    }

    fn features(&self) -> u64 {
        VERSION_1
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[8]
    }

    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn activate(&mut self, _activation: Activation) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reset(&mut self) {}

    fn queue_kicked(&mut self, _queue: usize) -> Result<(), DeviceError> {
        self.1.send(()).unwrap();
        self.0.lock().unwrap().recv().unwrap();
        Ok(())
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

#[test]
fn an_interrupt_handler_does_not_wait_for_a_device_at_work() {
    let memory = memory(0x1_0000);
    let (stop, stopped) = mpsc::channel();
    let (started, at_work) = mpsc::channel();
    let device = Busy(Mutex::new(stopped), started);
    let driver = Arc::new(MmioDriver::new(Box::new(device), &memory).unwrap());
    let mut queue = DriverQueue::new(&memory, 0x1000, 8);
    queue.offer(&[Buffer::Writable(0x8000, 8)]);
    assert!(driver.bring_up(VERSION_1, &[&queue]));
    let io = thread::spawn({
        let driver = Arc::clone(&driver);
        move || driver.transport().queue_kicked(0)
    });
    at_work.recv().unwrap();
    assert_eq!((driver.acknowledge(), driver.read(p::CONFIG_GENERATION)), (0, 0));
    assert!(!io.is_finished());
    stop.send(()).unwrap();
    io.join().unwrap();
}

#[test]
fn registers_and_queues_at_once() {
    let memory = memory(0x1_0000);
    let driver = MmioDriver::new(Box::new(Rng::new().unwrap()), &memory).unwrap();
    let driver = &driver;
    let mut queue = DriverQueue::new(&memory, 0x1000, 8);
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                driver.transport().queue_kicked(0);
                driver.transport().host_ready(0);
            }
        });
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                driver.acknowledge();
                driver.read(p::STATUS);
            }
        });
        for _ in 0..300 {
            driver.reset();
            queue.renew();
            assert!(driver.bring_up(VERSION_1, &[&queue]));
            let head = queue.offer(&[Buffer::Writable(0x8000, 64)]);
            driver.kick(0);
            assert_eq!(queue.take_used(), Some((head, 64)));
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
