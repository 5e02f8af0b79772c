# A guest in one boot sector. It prints a greeting, and then the character of each key that is
# pressed, on COM1 and on the screen. make.sh builds it.
	.code16
	.globl _start
_start:
	ljmp $0, $start
start:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %ss
	movw $0x7c00, %sp
	sti
	movw $0x0003, %ax	# text mode, 80×25
	int $0x10
	movw $0x00e3, %ax	# COM1: 9600 baud, 8 bits, no parity
	xorw %dx, %dx
	int $0x14
	movw $hello, %si
	call say
again:
	xorb %ah, %ah		# wait for a key
	int $0x16
	movb %al, char
	movw $key, %si
	call say
	jmp again

say:				# prints the text at %si, up to a zero byte, on both
	lodsb
	testb %al, %al
	jz said
	movb %al, %cl
	movb $0x0e, %ah
	movw $0x0007, %bx
	int $0x10
	movb %cl, %al
	movb $0x01, %ah
	xorw %dx, %dx
	int $0x14
	jmp say
said:
	ret

hello:	.asciz "Hello from a guest of my own\r\n"
key:	.ascii "key "
char:	.asciz "?\r\n"
	.org 510
	.word 0xaa55
