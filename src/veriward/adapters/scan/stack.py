"""The stack, the marks and the memo of a pickle machine, with bounds on what they may hold."""

from collections.abc import Callable
from dataclasses import dataclass, field

from .place import give_up
from .values import UNKNOWN, Value

_MOST_VALUES = 1_000_000  # on the stack, or in the memo


@dataclass
class Stack:
    """What a pickle works on. Where a real machine would stop with an error, this one tells and goes on.

    >>> stack = Stack(print)
    >>> stack.push(1); stack.pop(), stack.pop()
    takes from an empty stack
    (1, Unknown())
    """

    tell: Callable[[str], None]
    items: list[Value] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Value] = field(default_factory=dict)

    def push(self, value: Value) -> None:
        """Put a value on top.

        >>> stack = Stack(print); stack.push(1); stack.items
        [1]
        """
        if len(self.items) >= _MOST_VALUES:
            give_up("values on the stack of a pickle")
        self.items.append(value)

    def pop(self) -> Value:
        """Take the topmost value, never one below the last mark.

        >>> stack = Stack(print); stack.push(1); stack.pop()
        1
        """
        fence = self.marks[-1] if self.marks else 0
        if len(self.items) > fence:
            return self.items.pop()
        self.tell("takes from an empty stack")
        return UNKNOWN

    def top(self) -> Value:
        """The topmost value, which stays.

        >>> stack = Stack(print); stack.push(1); stack.top(), stack.items
        (1, [1])
        """
        value = self.pop()
        self.items.append(value)
        return value

    def mark(self) -> None:
        """Remember this height.

        >>> stack = Stack(print); stack.mark(); stack.marks
        [0]
        """
        if len(self.marks) >= _MOST_VALUES:
            give_up("marks of a pickle")
        self.marks.append(len(self.items))

    def since_mark(self) -> list[Value]:
        """Take the values above the last mark, and the mark.

        >>> stack = Stack(print); stack.mark(); stack.push(1); stack.since_mark()
        [1]
        """
        if not self.marks:
            self.tell("looks for a mark that is not there")
        start = self.marks.pop() if self.marks else 0
        items = self.items[start:]
        del self.items[start:]
        return items

    def drop(self) -> None:
        """POP: take the topmost value, or the mark if that was the last thing put there.

        >>> stack = Stack(print); stack.mark(); stack.drop(); stack.marks
        []
        """
        if self.marks and self.marks[-1] == len(self.items):
            self.marks.pop()
        else:
            self.pop()

    def put(self, index: int) -> None:
        """Write the topmost value into the memo.

        >>> stack = Stack(print); stack.push(1); stack.put(7); stack.memo
        {7: 1}
        """
        if len(self.memo) >= _MOST_VALUES:
            give_up("values in the memo of a pickle")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        """Push what the memo holds.

        >>> stack = Stack(print, memo={7: 1}); stack.get(7); stack.items
        [1]
        """
        if index not in self.memo:
            self.tell("reads a memo entry that was never written")
        self.push(self.memo.get(index, UNKNOWN))
