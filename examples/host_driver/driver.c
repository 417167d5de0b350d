// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A host driver for the thermometer in device.py. It adds one file to the
 * interface's folder in sysfs: temperature, in thousandths of a degree Celsius.
 */
#include <linux/module.h>
#include <linux/usb.h>

#define GET_TEMPERATURE 1 /* bRequest; the answer is a little-endian s32 */

static ssize_t temperature_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct usb_interface *interface = to_usb_interface(dev);
	__le32 answer;
	int error;

	/*
	 * It has a kmalloc'ed buffer of its own for the controller, which
	 * cannot write to our stack, and a short answer is an error to it.
	 * -EPIPE: the device refused. -EPROTO and others: it has gone.
	 */
	error = usb_control_msg_recv(interface_to_usbdev(interface), 0,
			GET_TEMPERATURE,
			USB_DIR_IN | USB_TYPE_VENDOR | USB_RECIP_INTERFACE, 0,
			interface->cur_altsetting->desc.bInterfaceNumber,
			&answer, sizeof(answer),
			USB_CTRL_GET_TIMEOUT, GFP_KERNEL);
	if (error)
		return error;
	return sysfs_emit(buf, "%d\n", (s32)le32_to_cpu(answer));
}
static DEVICE_ATTR_RO(temperature);

static struct attribute *thermometer_attrs[] = {
	&dev_attr_temperature.attr,
	NULL,
};
ATTRIBUTE_GROUPS(thermometer);

static int thermometer_probe(struct usb_interface *interface,
			     const struct usb_device_id *id)
{
	return 0; /* The driver core adds the file; there is no other state. */
}

static void thermometer_disconnect(struct usb_interface *interface)
{
	/* The file is gone by now: the core has waited for its readers. */
}

static const struct usb_device_id thermometer_ids[] = {
	{ USB_DEVICE_AND_INTERFACE_INFO(0x1d6b, 0x0104,
					USB_CLASS_VENDOR_SPEC, 0x54, 0x01) },
	{ }
};
MODULE_DEVICE_TABLE(usb, thermometer_ids);

static struct usb_driver thermometer_driver = {
	.name = "thermometer",
	.probe = thermometer_probe,
	.disconnect = thermometer_disconnect,
	.id_table = thermometer_ids,
	.dev_groups = thermometer_groups,
};
module_usb_driver(thermometer_driver);

MODULE_DESCRIPTION("Thermometer, an example of a driver under test");
MODULE_LICENSE("Dual MIT/GPL");
